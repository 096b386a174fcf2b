//! EC2's instance metadata service, version 2: a token by PUT, then everything else with that token
//! (AWS, "Use the Instance Metadata Service to access instance metadata").

use anyhow::{Context, Result};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a token looks like is nobody's business.
const TOKEN: &str = "AQAEANanoOSlabTokenOfNoMeaning==";
/// AWS's limit of a token's life, in seconds.
const LONGEST_TTL: u32 = 21_600;
/// A request comes at once or is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest request head that is read.
const MAX_HEAD: u64 = 64 << 10;

/// Metadata by path below /latest/meta-data/.
const METADATA: &[(&str, &str)] = &[
    ("instance-id", "i-0123456789abcdef0"),
    ("local-hostname", "ip-172-31-0-20.eu-central-1.compute.internal"),
    ("hostname", "ip-172-31-0-20.eu-central-1.compute.internal"),
];

struct Request {
    method: String,
    path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is wrong with the service at first.
#[derive(Default)]
pub(crate) struct Trouble {
    /// It refuses requests with this status, and does so this often. 401 is an answer to a token, so that it gives one.
    pub(crate) refusals: Option<(String, u32)>,
    /// It answers nothing, from its first request on.
    pub(crate) silence: Duration,
}

/// Answers one request after the other, on both kinds of addresses.
pub(crate) fn serve(user_data: &Path, mut trouble: Trouble) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80)).context("listen at port 80")?;
    let mut first = None;
    let mut unanswered = Vec::new();
    for stream in listener.incoming() {
        let stream = stream.context("accept")?;
        if first.get_or_insert_with(Instant::now).elapsed() < trouble.silence {
            eprintln!("{} waits", stream.peer_addr()?.ip());
            unanswered.push(stream);
            continue;
        }
        if let Err(error) = answer(stream, user_data, &mut trouble) {
            eprintln!("a request: {error:#}");
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream, user_data: &Path, trouble: &mut Trouble) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read(&stream)?;
    let (status, body) = match trouble.refuse(&request) {
        Some(status) => (status, Vec::new()),
        None => {
            let (status, body) = respond(&request, user_data);
            (status.to_owned(), body)
        }
    };
    eprintln!("{} {} {} {}", stream.peer_addr()?.ip(), request.method, request.path, status);
    let ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds").unwrap_or("0");
    let head = format!(
        "HTTP/1.1 {status}\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: {ttl}\r\nContent-Type: text/plain\r\n\
         Server: EC2ws\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body).context("answer")
}

impl Trouble {
    fn refuse(&mut self, request: &Request) -> Option<String> {
        let (status, left) = self.refusals.as_mut()?;
        if *left == 0 || status == "401" && request.method == "PUT" {
            return None;
        }
        *left -= 1;
        Some(format!("{status} Trouble"))
    }
}

fn read(stream: &TcpStream) -> Result<Request> {
    let mut lines = BufReader::new(stream.take(MAX_HEAD)).lines();
    let first = lines.next().context("an empty request")??;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    Ok(Request { method, path, headers })
}

fn respond(request: &Request, user_data: &Path) -> (&'static str, Vec<u8>) {
    let ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|ttl| ttl.parse().ok());
    match (request.method.as_str(), request.path.as_str()) {
        // Behind a proxy it is not the machine that asks.
        ("PUT", _) if request.header("x-forwarded-for").is_some() => ("403 Forbidden", Vec::new()),
        ("PUT", "/latest/api/token") => match ttl {
            Some(1..=LONGEST_TTL) => ("200 OK", TOKEN.into()),
            _ => ("400 Bad Request", Vec::new()),
        },
        _ if request.header("x-aws-ec2-metadata-token") != Some(TOKEN) => ("401 Unauthorized", Vec::new()),
        ("GET", "/latest/user-data") => match fs::read(user_data) {
            Ok(content) => ("200 OK", content),
            Err(_) => ("404 Not Found", Vec::new()),
        },
        ("GET", path) => {
            let known = path.strip_prefix("/latest/meta-data/");
            match METADATA.iter().find(|(name, _)| known == Some(*name)) {
                Some((_, value)) => ("200 OK", (*value).into()),
                None => ("404 Not Found", Vec::new()),
            }
        }
        _ => ("405 Method Not Allowed", Vec::new()),
    }
}
