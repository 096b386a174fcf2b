const http = require("node:http");

const greeting = process.env.GREETING || "Hello";

http
  .createServer((request, response) => {
    response.end(`${greeting} from Node ${process.versions.node}\n`);
  })
  .listen(process.env.PORT || 3000);
