//! A server whose answers may have no end: it sends as much as is taken, 2 GiB at most.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a server sends at most before it gives up.
const ENDLESS: u64 = 2 << 30;

/// A server with an answer for each path, which counts what it sends.
pub(crate) struct Server {
    pub(crate) address: String,
    sent: Arc<AtomicU64>,
    seen: Arc<Mutex<Vec<String>>>,
}

/// An answer: status, headers and the start of the body; whether the body goes on without end.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
    pub(crate) endless: bool,
}

impl Answer {
    pub(crate) fn of(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Answer { status: "200 OK", headers: format!("Content-Length: {}\r\n", body.len()), body, endless: false }
    }

    pub(crate) fn endless(status: &'static str, start: &str) -> Self {
        Answer { status, body: start.into(), endless: true, ..Answer::default() }
    }

    pub(crate) fn with(self, header: &str) -> Self {
        Answer { headers: format!("{}{header}\r\n", self.headers), ..self }
    }
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sent, seen) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<String>>>::default());
        let server = Server { address: address.clone(), sent: sent.clone(), seen: seen.clone() };
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, address, sent, seen) = (answer.clone(), address.clone(), sent.clone(), seen.clone());
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let path = path(&stream)?;
                    seen.lock().unwrap().push(path.clone());
                    send(&mut stream, &answer(&path, &address), &sent)
                });
            }
        });
        server
    }

    /// The image `app` of this registry.
    pub(crate) fn image(&self) -> String {
        format!("docker://{}/app", self.address)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn asked(&self, what: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|path| path.contains(what)).count()
    }
}

fn path(stream: &TcpStream) -> std::io::Result<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    Ok(first.split(' ').nth(1).unwrap_or_default().to_owned())
}

fn send(stream: &mut TcpStream, answer: &Answer, sent: &AtomicU64) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {}\r\nConnection: close\r\n{}", answer.status, answer.headers)?;
    if !answer.headers.ends_with("\r\n\r\n") {
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(&answer.body)?;
    let more = [b'x'; 1 << 16];
    while answer.endless && sent.load(Ordering::SeqCst) < ENDLESS {
        stream.write_all(&more)?;
        sent.fetch_add(more.len() as u64, Ordering::SeqCst);
    }
    Ok(())
}
