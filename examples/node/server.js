// As with Express: `app` is a function of a request and its response.
const http = require('http');

const app = (request, response) => {
    response.end(`hello from slot ${process.env.PREFORK_SLOT}\n`);
};

const server = http.createServer(app).listen(process.env.PORT);
process.on('SIGTERM', () => server.close());
