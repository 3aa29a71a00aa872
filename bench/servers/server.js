// Answers like the tests' server. Under a cluster module it listens on PORT, which preforkd adopts too.
const http = require('http');
const body = `pid=${process.pid} slot=0 gen=0\n`;
const server = http.createServer((req, res) => {
  res.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': body.length });
  res.end(body);
});
server.listen({ port: +process.env.PORT, host: '127.0.0.1', backlog: 4096 });
const stop = () => server.close(() => process.exit(0));
process.on('SIGTERM', stop);
process.on('message', (m) => { if (m === 'shutdown') stop(); });
