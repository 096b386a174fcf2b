// Work without a port: `process = "worker"` in the instance's user data starts it in place of the server.
setInterval(() => console.log("worked"), 1000);
