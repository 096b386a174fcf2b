//! EC2's instance metadata service, version 2: a token by PUT, and with it the questions. Runs in a child of init, as it
//! waits for answers.

use super::answer::{Answer, Data};
use super::document::{LONGEST, is_hostname, unpack};
use super::http::{self, Response, TooLong};
use crate::error;
use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

/// How long a machine waits for its user data once the network has its address. The service is on the host itself and
/// answers within milliseconds, but first boots of instances see it silent for up to 18 s (NixOS/amis#137), or refuse
/// tokens that it has just given (nixpkgs#542874). cloud-init waits as long (DataSourceEc2, `max_wait`).
pub const DEADLINE: Duration = Duration::from_secs(120);
/// How long one endpoint may take for one answer, so that the other one is asked as well: in the first round, and at
/// most. Each round has twice as much as the one before, for a service that is slow and not silent.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// After the first round of questions, and at most: it doubles as well.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// After this long the console says what the machine is waiting for.
const NOTICE: Duration = Duration::from_secs(5);
/// How long the name is asked for where the user data are known: a machine can do without its name.
const NAME_PATIENCE: Duration = Duration::from_secs(5);
/// The token is used at once.
const TOKEN_SECONDS: u32 = 60;
/// More than any token has.
const LONGEST_TOKEN: usize = 1 << 10;

/// The service's addresses. In a subnet without IPv4 only the second one answers.
const ENDPOINTS: &[IpAddr] =
    &[IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// Asks until somebody answers, or until `deadline`; for the machine's name too, if nobody else has told it. An answer
/// is 200, 404 or 403; after anything else, and after nothing, both endpoints are asked again, with a new token.
#[must_use]
pub fn fetch(with_hostname: bool, mut deadline: Instant) -> Answer {
    let mut notice = Some(Instant::now() + NOTICE);
    let (mut pause, mut patience) = (PAUSE.0, PATIENCE.0);
    let (mut known, mut name_deadline) = (None, None);
    loop {
        let mut problems = Vec::new();
        for endpoint in ENDPOINTS {
            match answer(*endpoint, &mut known, with_hostname, deadline.min(Instant::now() + patience)) {
                Ok(answer) => return answer,
                Err(error) => problems.push(format!("{endpoint}: {error:#}")),
            }
        }
        let (now, problem) = (Instant::now(), problems.join("; "));
        if known.is_some() {
            deadline = *name_deadline.get_or_insert(deadline.min(now + NAME_PATIENCE));
        }
        if now + pause >= deadline {
            return Answer { hostname: None, data: known.unwrap_or(Data::Unknown(problem)) };
        }
        if known.is_none() && notice.take_if(|notice| now >= *notice).is_some() {
            let left = (deadline - now).as_secs();
            error!("user data: no answer from the metadata service yet: {problem}: asking for {left} s more");
        }
        thread::sleep(pause);
        (pause, patience) = ((pause * 2).min(PAUSE.1), (patience * 2).min(PATIENCE.1));
    }
}

/// Asks one endpoint for what is not known yet.
fn answer(endpoint: IpAddr, known: &mut Option<Data>, with_hostname: bool, deadline: Instant) -> Result<Answer> {
    let session = Session::open(endpoint, deadline)?;
    if known.is_none() {
        *known = Some(session.as_ref().map_or_else(|| Ok(refused()), Session::data)?);
    }
    let hostname = session.filter(|_| with_hostname).map(|session| session.hostname()).transpose()?.flatten();
    Ok(Answer { hostname, data: known.take().unwrap_or(Data::None) })
}

/// Somebody has switched the service off for this instance: no further question would change that.
fn refused() -> Data {
    Data::Bad("the instance may not ask for its metadata (status 403)".to_owned())
}

/// One endpoint that has given a token.
struct Session {
    endpoint: IpAddr,
    token: String,
    deadline: Instant,
}

impl Session {
    /// Asks for a token; `None` where the service is switched off.
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

    fn data(&self) -> Result<Data> {
        Ok(match self.get("user-data") {
            Err(error) if error.is::<TooLong>() => Data::Bad(format!("{error:#}")),
            Err(error) => return Err(error),
            Ok(Response { status: 404, .. }) => Data::None,
            Ok(Response { status: 403, .. }) => refused(),
            Ok(Response { status: 200, body }) => unpack(&body).map_or_else(Data::Bad, Data::Text),
            Ok(Response { status, .. }) => bail!("user-data: status {status}"),
        })
    }

    fn hostname(&self) -> Result<Option<String>> {
        let Response { status, body } = self.get("meta-data/local-hostname")?;
        match status {
            200 => Ok(first_name(&body)),
            403 | 404 => Ok(None),
            status => bail!("local-hostname: status {status}"),
        }
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
    http::ask(SocketAddr::new(endpoint, 80), &request, longest, deadline)
}

/// There may be several, with blanks between them, where the network has several domains (DHCP options of the VPC).
fn first_name(body: &[u8]) -> Option<String> {
    let name = str::from_utf8(body).ok()?.split_whitespace().next()?;
    is_hostname(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_names_the_first_counts() {
        assert_eq!(first_name(b"ip-10-0-0-1.ec2.internal\n").as_deref(), Some("ip-10-0-0-1.ec2.internal"));
        assert_eq!(
            first_name(b"ip-10-0-0-1.a.example ip-10-0-0-1.b.example").as_deref(),
            Some("ip-10-0-0-1.a.example")
        );
        for none in [&b""[..], b" \n", b"<html>", b"a\xff"] {
            assert_eq!(first_name(none), None);
        }
    }
}
