// What a careful user of Node's cluster module writes: dead workers are replaced at once, SIGHUP
// replaces all of them one by one.
const cluster = require('cluster');
cluster.setupPrimary({ exec: __dirname + '/server.js' });
const fork = (then) => { const w = cluster.fork(); if (then) w.once('listening', then); };
for (let i = 0; i < +process.env.WORKERS; i++) fork();
cluster.on('exit', (w) => { if (!w.retiring) fork(); });
process.on('SIGHUP', () => {
  const old = Object.values(cluster.workers).filter((w) => !w.retiring);
  const next = () => {
    const w = old.shift();
    if (w) fork(() => { w.retiring = true; w.disconnect(); next(); });
  };
  next();
});
process.on('SIGTERM', () => {
  for (const w of Object.values(cluster.workers)) { w.retiring = true; w.kill(); }
  process.exit(0);
});
