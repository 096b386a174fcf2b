//! A small web server that is a whole machine: `builder demo` boots it, and it shows what such a program needs
//! (nothing but the standard library).
//!
//! It listens on port 8080, or on the port given as its argument or in the environment variable `PORT`, over
//! IPv4 and IPv6, and answers `GET /`. SIGTERM ends it at once, unless it is PID 1: it has no handler for that.

mod connection;
mod page;
mod request;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;

/// Where the server listens when nobody says otherwise.
const DEFAULT_PORT: u16 = 8080;

/// Connections served at the same time, each by a thread of its own; more wait in the kernel's queue.
const WORKERS: usize = 16;

fn main() -> ExitCode {
    let port = match port(std::env::args().nth(1), std::env::var("PORT").ok()) {
        Ok(port) => port,
        Err(text) => {
            eprintln!("hello: {text:?} is not a port number");
            return ExitCode::from(2);
        }
    };
    match listen(port) {
        Ok(listeners) => {
            println!("hello: listening on port {port}");
            serve(&listeners);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hello: listen on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The port to listen on: the argument, or the environment, or the default. An error is the text that is no port.
fn port(argument: Option<String>, environment: Option<String>) -> Result<u16, String> {
    match argument.or(environment) {
        None => Ok(DEFAULT_PORT),
        Some(text) => text.parse().map_err(|_| text),
    }
}

/// Sockets for both address families. On most machines the IPv6 one takes IPv4 too, which the second attempt
/// then shows by "address in use"; a machine without IPv6 has only the other.
fn listen(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let mut failure = None;
    for address in [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))] {
        match TcpListener::bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && !listeners.is_empty() => {}
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

/// Serves connections until the process ends.
fn serve(listeners: &[TcpListener]) {
    thread::scope(|scope| {
        for listener in listeners {
            for _ in 0..WORKERS {
                scope.spawn(move || {
                    for stream in listener.incoming() {
                        // A peer that went away, or sent nothing, is its own affair.
                        let _ = stream.and_then(|stream| connection::answer(&stream));
                    }
                });
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn the_argument_beats_the_environment_and_nonsense_is_named() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(port(None, None), Ok(8080));
        assert_eq!(port(None, text("81")), Ok(81));
        assert_eq!(port(text("82"), text("81")), Ok(82));
        assert_eq!(port(text("http"), None), Err("http".to_owned()));
        assert_eq!(port(text("65536"), None), Err("65536".to_owned()));
    }

    #[test]
    fn both_address_families_are_served() {
        let listeners = listen(0).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        thread::spawn(move || serve(&listeners));
        for address in ["127.0.0.1", "::1"] {
            let mut stream = TcpStream::connect((address, port)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("NanoOS"), "{answer}");
        }
    }
}
