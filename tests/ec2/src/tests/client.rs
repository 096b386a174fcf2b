//! A client as small as can be, and a stand-in for it to talk to.

use crate::{BLOCK, Digest, Rules, StandIn, clock};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The text of the first element of this name.
    pub(super) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    }

    #[track_caller]
    pub(super) fn accepted(self) -> Self {
        assert!(self.status < 300, "{} {}", self.status, self.text());
        self
    }

    /// Asserts an error: its status, its code, and a part of what it says.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: &str, says: &str) {
        let text = self.text();
        let found = match self.header("x-amzn-ErrorType") {
            Some(code) => code.to_owned(),
            None => self.element("Code").unwrap_or_default(),
        };
        assert_eq!((self.status, found.as_str()), (status, code), "{text}");
        assert!(text.contains(says), "{text:?} does not say {says:?}");
    }
}

/// A stand-in and who talks to it.
pub(super) struct Lab {
    pub(super) stand_in: StandIn,
    pub(super) key: &'static str,
    pub(super) region: &'static str,
    /// Seconds by which the client's clock is wrong.
    pub(super) skew: i64,
    pub(super) token: Option<&'static str>,
}

pub(super) const REGION: &str = "us-east-1";

impl Lab {
    pub(super) fn new() -> Self {
        // The quotas have tests of their own; the others are not to hit them.
        let mut rules = Rules::default();
        rules.quotas.start = 1000;
        rules.quotas.complete = 1000;
        Lab::with(rules)
    }

    pub(super) fn with(rules: Rules) -> Self {
        let stand_in = StandIn::start(rules).unwrap();
        Lab { stand_in, key: "AKIDEXAMPLE", region: REGION, skew: 0, token: None }
    }

    fn signature(&self, service: &str) -> String {
        let date = clock::basic(clock::seconds(clock::skewed(SystemTime::now(), self.skew)));
        let token = self.token.map(|token| format!("X-Amz-Security-Token: {token}\r\n")).unwrap_or_default();
        format!(
            "X-Amz-Date: {date}\r\n{token}Authorization: AWS4-HMAC-SHA256 Credential={}/{}/{}/{service}/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=00\r\n",
            self.key,
            &date[..8],
            self.region
        )
    }

    /// Sends bytes and reads one answer.
    pub(super) fn raw(&self, request: &[u8]) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(self.stand_in.endpoint().trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request)?;
        read_answer(&mut BufReader::new(stream))
    }

    /// Sends a signed request; `headers` are whole lines.
    pub(super) fn send(&self, service: &str, line: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let signature = self.signature(service);
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{signature}{headers}Content-Length: {length}\r\n\r\n");
        self.raw(&[head.as_bytes(), body].concat())
    }

    pub(super) fn ebs(&self, line: &str, headers: &str, body: &[u8]) -> Answer {
        self.send("ebs", line, headers, body).unwrap()
    }

    /// `parameters` are pairs such as `SnapshotId.1=snap-…`.
    pub(super) fn try_ec2(&self, action: &str, parameters: &[&str]) -> io::Result<Answer> {
        let mut body = format!("Action={action}&Version=2016-11-15");
        for parameter in parameters {
            body.push('&');
            body.push_str(&parameter.replace(' ', "%20"));
        }
        self.send("ec2", "POST /", "", body.as_bytes())
    }

    pub(super) fn ec2(&self, action: &str, parameters: &[&str]) -> Answer {
        self.try_ec2(action, parameters).unwrap()
    }

    pub(super) fn ssm(&self, action: &str, body: &Value) -> Answer {
        let target = format!("X-Amz-Target: AmazonSSM.{action}\r\n");
        self.send("ssm", "POST /", &target, body.to_string().as_bytes()).unwrap()
    }

    pub(super) fn start(&self, body: &Value) -> Answer {
        self.ebs("POST /snapshots", "", body.to_string().as_bytes())
    }

    /// A snapshot of 1 GiB to put blocks to.
    pub(super) fn pending(&self) -> String {
        id(&self.start(&json!({ "VolumeSize": 1 })).accepted())
    }

    pub(super) fn try_put(&self, snapshot: &str, index: u32, byte: u8) -> io::Result<Answer> {
        let block = block(byte);
        self.send("ebs", &format!("PUT /snapshots/{snapshot}/blocks/{index}"), &block_headers(&block), &block)
    }

    pub(super) fn put(&self, snapshot: &str, index: u32, byte: u8) -> Answer {
        self.try_put(snapshot, index, byte).unwrap()
    }

    pub(super) fn complete(&self, snapshot: &str, count: usize) -> Answer {
        let header = format!("x-amz-ChangedBlocksCount: {count}\r\n");
        self.ebs(&format!("POST /snapshots/completion/{snapshot}"), &header, b"")
    }

    /// What DescribeSnapshots says of a snapshot.
    pub(super) fn status(&self, snapshot: &str) -> String {
        let answer = self.ec2("DescribeSnapshots", &[&format!("SnapshotId.1={snapshot}")]).accepted();
        answer.element("status").unwrap()
    }

    /// Puts blocks 0, 1, … of these bytes, and completes.
    pub(super) fn finish(&self, snapshot: &str, bytes: &[u8]) {
        for (index, byte) in (0..).zip(bytes) {
            self.put(snapshot, index, *byte).accepted();
        }
        self.complete(snapshot, bytes.len()).accepted();
        while self.status(snapshot) == "pending" {}
        assert_eq!(self.status(snapshot), "completed");
    }

    /// A completed snapshot of 1 GiB.
    pub(super) fn completed(&self, bytes: &[u8]) -> String {
        let snapshot = self.pending();
        self.finish(&snapshot, bytes);
        snapshot
    }

    pub(super) fn register(&self, name: &str, snapshot: &str, changes: &[&str]) -> Answer {
        let parameters = registration(name, snapshot, changes);
        self.ec2("RegisterImage", &parameters.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// The parameters of a right RegisterImage, with changes: `Name=value` sets one, `Name` takes one away.
pub(super) fn registration(name: &str, snapshot: &str, changes: &[&str]) -> Vec<String> {
    let mut parameters = vec![
        format!("Name={name}"),
        "Architecture=x86_64".to_owned(),
        "VirtualizationType=hvm".to_owned(),
        "BootMode=uefi".to_owned(),
        "EnaSupport=true".to_owned(),
        "ImdsSupport=v2.0".to_owned(),
        "SriovNetSupport=simple".to_owned(),
        "RootDeviceName=/dev/xvda".to_owned(),
        "BlockDeviceMapping.1.DeviceName=/dev/xvda".to_owned(),
        format!("BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}"),
        "BlockDeviceMapping.1.Ebs.VolumeType=gp3".to_owned(),
    ];
    for change in changes {
        let name = change.split('=').next().unwrap();
        parameters.retain(|parameter| parameter.split('=').next() != Some(name));
        if change.contains('=') {
            parameters.push((*change).to_owned());
        }
    }
    parameters
}

pub(super) fn read_answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut answer = Answer { status, head, body: Vec::new() };
    let length = answer.header("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
    answer.body = vec![0; length];
    reader.read_exact(&mut answer.body)?;
    Ok(answer)
}

/// A block full of this byte.
pub(super) fn block(byte: u8) -> Vec<u8> {
    vec![byte; BLOCK]
}

pub(super) fn digest(data: &[u8]) -> Digest {
    crate::blocks::digest(data)
}

pub(super) fn base64(digest: &[u8]) -> String {
    STANDARD.encode(digest)
}

/// The headers of a right Put.
pub(super) fn block_headers(data: &[u8]) -> String {
    let (length, checksum) = (data.len(), base64(&digest(data)));
    format!("x-amz-Data-Length: {length}\r\nx-amz-Checksum: {checksum}\r\nx-amz-Checksum-Algorithm: SHA256\r\n")
}

/// The snapshot that was started.
pub(super) fn id(answer: &Answer) -> String {
    answer.json()["SnapshotId"].as_str().unwrap().to_owned()
}
