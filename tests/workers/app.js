// An ordinary Node server on an inherited socket, which finishes its requests on SIGTERM.
'use strict';
const http = require('http');

const env = process.env;
const server = http.createServer((request, response) => {
    response.end(`pid=${process.pid} slot=${env.PREFORK_SLOT} gen=${env.PREFORK_GENERATION}\n`);
});

server.listen({ fd: 3 });
process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
});
