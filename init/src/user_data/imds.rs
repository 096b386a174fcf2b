//! EC2's instance metadata service, version 2: a token by PUT, and with it the questions. Runs in a child of init, as it
//! waits for answers.

use super::answer::{Answer, Data};
use super::http::{self, Response, TooLong};
use super::{LONGEST, is_hostname, unpack};
use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

/// How long a machine waits for its user data once the network has its address. The service is on the host itself and
/// answers within milliseconds; it may be late by a second or two when an instance has just started.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How long one endpoint may take for one answer, so that the other one is asked as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(200);
/// The token is used at once.
const TOKEN_SECONDS: u32 = 60;
/// More than any token has.
const LONGEST_TOKEN: usize = 1 << 10;

/// The service's addresses. In a subnet without IPv4 only the second one answers.
const ENDPOINTS: &[IpAddr] =
    &[IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// Asks until somebody answers, or until `deadline`; for the machine's name too, if nobody else has told it.
#[must_use]
pub fn fetch(with_hostname: bool, deadline: Instant) -> Answer {
    loop {
        let mut problems = Vec::new();
        for endpoint in ENDPOINTS {
            match answer(*endpoint, with_hostname, deadline) {
                Ok(answer) => return answer,
                Err(error) => problems.push(format!("{endpoint}: {error:#}")),
            }
        }
        if Instant::now() + PAUSE >= deadline {
            return Answer { hostname: None, data: Data::Unknown(problems.join("; ")) };
        }
        thread::sleep(PAUSE);
    }
}

fn answer(endpoint: IpAddr, with_hostname: bool, deadline: Instant) -> Result<Answer> {
    match Session::open(endpoint, deadline)? {
        Some(session) => session.answer(with_hostname),
        None => {
            Ok(Answer { hostname: None, data: Data::Unknown("the instance may not ask for its metadata".to_owned()) })
        }
    }
}

/// One endpoint that has given a token.
struct Session {
    endpoint: IpAddr,
    token: String,
    deadline: Instant,
}

impl Session {
    /// Asks for a token; `None` where the service is switched off, which no further question would change.
    fn open(endpoint: IpAddr, deadline: Instant) -> Result<Option<Self>> {
        let ttl = format!("X-aws-ec2-metadata-token-ttl-seconds: {TOKEN_SECONDS}");
        let response = ask(endpoint, "PUT /latest/api/token", &ttl, LONGEST_TOKEN, deadline)?;
        match response.status {
            200 => {}
            403 => return Ok(None),
            status => bail!("token: status {status}"),
        }
        let token = String::from_utf8(response.body).context("token")?;
        ensure!(token.bytes().all(|byte| byte.is_ascii_graphic()), "token: not one that can be sent back");
        Ok(Some(Session { endpoint, token, deadline }))
    }

    fn answer(&self, with_hostname: bool) -> Result<Answer> {
        let data = match self.get("user-data") {
            Err(error) if error.is::<TooLong>() => Data::Bad(format!("{error:#}")),
            Err(error) => return Err(error),
            Ok(Response { status: 404, .. }) => Data::None,
            Ok(Response { status: 200, body }) => unpack(&body).map_or_else(Data::Bad, Data::Text),
            Ok(Response { status, .. }) => bail!("user-data: status {status}"),
        };
        // A machine can do without its name.
        let hostname = with_hostname.then(|| self.hostname()).flatten();
        Ok(Answer { hostname, data })
    }

    fn hostname(&self) -> Option<String> {
        let response = self.get("meta-data/local-hostname").ok().filter(|response| response.status == 200)?;
        let name = String::from_utf8(response.body).ok()?;
        Some(name.trim().to_owned()).filter(|name| is_hostname(name))
    }

    fn get(&self, what: &str) -> Result<Response> {
        let token = format!("X-aws-ec2-metadata-token: {}", self.token);
        ask(self.endpoint, &format!("GET /latest/{what}"), &token, LONGEST, self.deadline)
    }
}

fn ask(endpoint: IpAddr, what: &str, field: &str, longest: usize, deadline: Instant) -> Result<Response> {
    let host = match endpoint {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let request =
        format!("{what} HTTP/1.1\r\nHost: {host}\r\n{field}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    http::ask(SocketAddr::new(endpoint, 80), &request, longest, deadline.min(Instant::now() + PATIENCE))
}
