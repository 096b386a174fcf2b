// Work without a port: user data {"process": "worker"} start it in place of the server.
setInterval(() => console.log("worked"), 1000);
