//! A proxy of the tests' own: it tunnels (CONNECT) and forwards to where it is told, and remembers what it was asked
//! for.
#![allow(dead_code)] // each test uses its part

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Proxy {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that leads every request to this server; with a password, it asks for it (`Basic` in base64).
    pub(crate) fn to(server: &str, password: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, seen) = (listener.local_addr().unwrap().to_string(), Arc::default());
        let (log, server) = (Arc::clone(&seen), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (log, server) = (Arc::clone(&log), server.clone());
                // A client that hung up is none of its business.
                thread::spawn(move || drop(serve(&client.unwrap(), &server, password, &log)));
            }
        });
        Proxy { address, seen }
    }

    /// Request lines, each without its version.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    mut client: &TcpStream,
    server: &str,
    password: Option<&str>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line)? > 2 {
        head.push_str(&line);
        line.clear();
    }
    let request = head.split(" HTTP/").next().unwrap_or_default().to_owned();
    log.lock().unwrap().push(request.clone());
    let expected = password.map(|password| format!("proxy-authorization: Basic {password}"));
    if expected.is_some_and(|expected| !head.lines().any(|line| line.eq_ignore_ascii_case(&expected))) {
        return client.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    let mut server = TcpStream::connect(server)?;
    if request.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    } else {
        write!(server, "{head}\r\n")?;
    }
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    let buffered = reader.buffer().to_vec();
    server.write_all(&buffered)?;
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Write)?;
    drop(back.join());
    Ok(())
}
