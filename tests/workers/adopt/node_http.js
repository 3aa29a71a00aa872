// An ordinary Node server: node_http.js HOST PORT. It finishes its requests on SIGTERM.
'use strict';
const http = require('http');

const [host, port] = process.argv.slice(2);
const env = process.env;
const server = http.createServer((request, response) => {
    response.end(`pid=${process.pid} slot=${env.PREFORK_SLOT} gen=${env.PREFORK_GENERATION}\n`);
});

server.listen(Number(port), host);
process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
});
