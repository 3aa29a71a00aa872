// What programs built upon a Node framework look like: node_app.js PORT. The application is ready
// a while after the start and listens without naming a host, that is on [::].
'use strict';
const http = require('http');

function application() {
    const handlers = [];
    const app = (request, response) => {
        let next = 0;
        const proceed = () => handlers[next++](request, response, proceed);
        proceed();
    };
    app.use = (handler) => handlers.push(handler);
    app.listen = (...args) => http.createServer(app).listen(...args);
    return app;
}

const app = application();
const env = process.env;
app.use((request, response, next) => {
    response.setHeader('Connection', 'close');
    next();
});
app.use((request, response) => {
    response.end(`pid=${process.pid} slot=${env.PREFORK_SLOT} gen=${env.PREFORK_GENERATION}\n`);
});

setTimeout(() => app.listen(Number(process.argv[2])), 100);
