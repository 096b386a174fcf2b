//! Accepts connections and leads each request through: read, faults, identity, operation, answer.

use crate::auth::{self, Caller};
use crate::blocks::BlockStore;
use crate::ec2::params::Params;
use crate::faults::{Effect, Kind, Moment};
use crate::http::{self, Content, Head, Response};
use crate::refusal::{Outcome, Refusal, Service};
use crate::rules::Rules;
use crate::state::World;
use crate::tally::Counting;
use crate::trouble::Trouble;
use crate::{clock, control, ebs, ec2, ssm, sts};
use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) rules: Rules,
    pub(crate) blocks: BlockStore,
    pub(crate) began: Instant,
    /// Encryption by default is on where the rules say off, and off where they say on.
    pub(crate) encryption_switched: AtomicBool,
    world: Mutex<World>,
    trouble: Mutex<Trouble>,
    counting: Mutex<Counting>,
    /// Until when the bandwidth is taken.
    busy_until: Mutex<Instant>,
    stopped: (Mutex<bool>, Condvar),
    connections: Mutex<HashMap<u64, TcpStream>>,
}

/// A thread that panicked while it held a lock has told so; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(rules: Rules) -> Self {
        Shared {
            world: Mutex::new(World::new(&rules)),
            rules,
            blocks: BlockStore::default(),
            began: Instant::now(),
            encryption_switched: AtomicBool::new(false),
            trouble: Mutex::new(Trouble::new(crate::Faults::default())),
            counting: Mutex::default(),
            busy_until: Mutex::new(Instant::now()),
            stopped: (Mutex::new(false), Condvar::new()),
            connections: Mutex::default(),
        }
    }

    /// Whether encryption by default is on in a region.
    pub(crate) fn encrypts_by_default(&self, region: &str) -> bool {
        self.rules.encryption_by_default.contains(region) != self.encryption_switched.load(Ordering::Relaxed)
    }

    /// Taken before [`Shared::trouble`] where both are held.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub(crate) fn trouble(&self) -> MutexGuard<'_, Trouble> {
        lock(&self.trouble)
    }

    pub(crate) fn counting(&self) -> MutexGuard<'_, Counting> {
        lock(&self.counting)
    }

    /// Sleeps, or less when the server stops.
    fn pause(&self, time: Duration) {
        let (stopped, condition) = &self.stopped;
        let guard = lock(stopped);
        drop(condition.wait_timeout_while(guard, time, |stopped| !*stopped));
    }

    fn is_stopped(&self) -> bool {
        *lock(&self.stopped.0)
    }

    /// Ends every connection and the accepting thread's loop, once something connects.
    pub(crate) fn stop(&self) {
        *lock(&self.stopped.0) = true;
        self.stopped.1.notify_all();
        for stream in lock(&self.connections).values() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The time in `Date` and against which requests' dates are held.
    fn signing_time(&self) -> SystemTime {
        clock::skewed(SystemTime::now(), self.trouble().faults.clock_skew)
    }

    /// Takes as long as a block of this size takes.
    fn pace(&self, bytes: usize) {
        let mut time = self.rules.put_latency;
        if let Some(bandwidth) = self.rules.bandwidth {
            let takes = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / bandwidth.max(1));
            let mut until = lock(&self.busy_until);
            *until = (*until).max(Instant::now()) + takes;
            time = time.max(until.duration_since(Instant::now()));
        }
        if !time.is_zero() {
            self.pause(time);
        }
    }
}

/// Accepts connections until the server stops.
pub(crate) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        if shared.is_stopped() {
            return;
        }
        // A peer that was gone before it was accepted.
        let Ok(stream) = stream else { continue };
        let Ok(other) = stream.try_clone() else { continue };
        lock(&shared.connections).insert(number, other);
        shared.counting().tally.connections += 1;
        let its = Arc::clone(shared);
        let spawned = thread::Builder::new().name(format!("connection {number}")).spawn(move || {
            serve(&its, stream);
            lock(&its.connections).remove(&number);
        });
        if spawned.is_err() {
            lock(&shared.connections).remove(&number);
        }
    }
}

/// What becomes of a connection after an exchange.
enum Next {
    Again,
    Close,
    Reset,
}

fn serve(shared: &Shared, stream: TcpStream) {
    // Without it, small answers wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let mut connection = Connection { shared, reader: BufReader::with_capacity(64 << 10, stream), body: Vec::new() };
    loop {
        match connection.exchange() {
            Ok(Next::Again) if !shared.is_stopped() => {}
            Ok(Next::Reset) => {
                shared.counting().tally.resets += 1;
                return reset(connection.reader.get_ref());
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let response = Response::new(400, Content::Owned(error.to_string().into_bytes()));
                // The peer may be gone, and that is all there is to tell it.
                let _ = http::write(connection.reader.get_mut(), &response, true, false);
                return;
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// Makes closing the connection send RST, whatever was sent or not read before.
fn reset(stream: &TcpStream) {
    // Where it fails, the connection is closed without an answer, which is nearly as rude.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    // `Shared::connections` holds a second descriptor, which is closed right after.
}

struct Connection<'a> {
    shared: &'a Shared,
    reader: BufReader<TcpStream>,
    body: Vec<u8>,
}

/// Counts a request as under way as long as this lives.
struct InFlight<'a>(&'a Shared, &'a str);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.counting().leave(self.1);
    }
}

/// What a request asks for.
struct Asked {
    service: Service,
    action: String,
    params: Params,
}

impl Connection<'_> {
    fn exchange(&mut self) -> io::Result<Next> {
        let shared = self.shared;
        let Some(head) = http::read_head(&mut self.reader)? else { return Ok(Next::Close) };
        if head.path.starts_with("/_") {
            self.read_body(&head, false)?;
            let response = control::answer(shared, &head, &self.body);
            http::write(self.reader.get_mut(), &response, head.close, false)?;
            return Ok(if head.close { Next::Close } else { Next::Again });
        }
        if shared.trouble().crashed() {
            return Ok(Next::Reset);
        }
        let (asked, body_is_read) = match early(&head) {
            Some(asked) => (asked, false),
            None => (self.query(&head)?, true),
        };
        shared.counting().arrive(&asked.action);
        let _in_flight = InFlight(shared, &asked.action);
        let fault = shared.trouble().draw(&asked.action);
        match fault {
            Some(Kind::Reset(Moment::BeforeBody)) => return Ok(Next::Reset),
            Some(Kind::Reset(Moment::MidBody)) => {
                if !body_is_read {
                    self.read_body(&head, true)?;
                }
                return Ok(Next::Reset);
            }
            Some(Kind::Stall(Moment::BeforeBody | Moment::MidBody, time)) => shared.pause(time),
            _ => {}
        }
        if !body_is_read {
            self.read_body(&head, false)?;
        }
        if asked.action == "PutSnapshotBlock" {
            shared.counting().tally.block_bytes += self.body.len() as u64;
            shared.pace(self.body.len());
        }
        let response = self.respond(&asked, &head, fault);
        self.write(&response, head.close, fault)
    }

    fn write(&mut self, response: &Response, close: bool, fault: Option<Kind>) -> io::Result<Next> {
        match fault {
            Some(Kind::Reset(Moment::BeforeAnswer)) => return Ok(Next::Reset),
            Some(Kind::Reset(Moment::MidAnswer)) => {
                http::write(self.reader.get_mut(), response, close, true)?;
                return Ok(Next::Reset);
            }
            Some(Kind::Endless) => {
                self.reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n")?;
                return Ok(Next::Close);
            }
            Some(Kind::Stall(Moment::BeforeAnswer | Moment::MidAnswer, time)) => self.shared.pause(time),
            _ => {}
        }
        // The Put that was the last before a crash gets no answer either.
        if self.shared.trouble().crashed() {
            return Ok(Next::Reset);
        }
        http::write(self.reader.get_mut(), response, close, false)?;
        Ok(if close { Next::Close } else { Next::Again })
    }

    fn read_body(&mut self, head: &Head, half: bool) -> io::Result<()> {
        if head.expects_continue() {
            self.reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        http::read_body(&mut self.reader, head, &mut self.body, half)
    }

    /// A request of the query protocol names its operation in the body.
    fn query(&mut self, head: &Head) -> io::Result<Asked> {
        self.read_body(head, false)?;
        let mut pairs = http::form(&String::from_utf8_lossy(&self.body));
        pairs.extend(head.query.iter().cloned());
        let params = Params::new(pairs);
        let service = if params.get("Version") == Some("2011-06-15") { Service::Sts } else { Service::Ec2 };
        Ok(Asked { service, action: params.get("Action").unwrap_or("").to_owned(), params })
    }

    fn respond(&self, asked: &Asked, head: &Head, fault: Option<Kind>) -> Response {
        let shared = self.shared;
        let request_id = {
            let random = &mut shared.world().random;
            format!("{}-{}-4{}-8{}-{}", random.hex(8), random.hex(4), random.hex(3), random.hex(3), random.hex(12))
        };
        let now = shared.signing_time();
        let caller = match asked.action.as_str() {
            sts::UNSIGNED => Ok(sts::anybody()),
            _ => auth::identify(asked.service, head, &shared.rules, &mut shared.trouble(), now),
        };
        let outcome = caller.and_then(|caller| self.perform(asked, head, &caller, fault));
        if let Err(refusal) = &outcome {
            shared.counting().refuse(&asked.action, refusal.code);
        } else if asked.action == "PutSnapshotBlock" {
            shared.trouble().put_done();
        }
        let outcome = match (outcome, fault) {
            (Ok(_), Some(Kind::Error(status, Effect::Taken))) => {
                let refusal = Refusal::internal(asked.service, status);
                shared.counting().refuse(&asked.action, refusal.code);
                Err(refusal)
            }
            (outcome, _) => outcome,
        };
        let response = outcome.unwrap_or_else(|refusal| refusal.response(asked.service, &request_id));
        response.header("Date", clock::http_date(now)).header("x-amzn-RequestId", request_id)
    }

    fn perform(&self, asked: &Asked, head: &Head, caller: &Caller, fault: Option<Kind>) -> Outcome {
        let (service, action) = (asked.service, asked.action.as_str());
        let call = Call { shared: self.shared, caller, head, body: &self.body, params: &asked.params };
        match fault {
            Some(Kind::Throttled) => return Err(Refusal::throttled(service)),
            Some(Kind::Error(status, Effect::None)) => return Err(Refusal::internal(service, status)),
            Some(Kind::Denied) => {
                let resource = (service == Service::Ebs).then(|| ebs::resource(&call));
                return Err(auth::denied(service, action, caller, resource.as_deref()));
            }
            Some(Kind::Refused(status, code)) => {
                return Err(Refusal::new(status, code, "The request is refused, as the fault says."));
            }
            Some(Kind::Unread) => {
                return Err(Refusal::validation("INVALID_PARAMETER_VALUE", "Failed to read block data"));
            }
            _ => {}
        }
        match service {
            Service::Ebs => ebs::perform(action, &call),
            Service::Ec2 => ec2::perform(action, &call),
            Service::Sts => sts::perform(action, &call),
            Service::Ssm => ssm::perform(action, &call),
        }
    }
}

/// What is asked for, where the head tells it.
fn early(head: &Head) -> Option<Asked> {
    let (service, action) = if head.path != "/" {
        (Service::Ebs, ebs::action(head).to_owned())
    } else {
        (Service::Ssm, head.header("x-amz-target")?.rsplit('.').next()?.to_owned())
    };
    Some(Asked { service, action, params: Params::default() })
}

/// A request of a known identity.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) caller: &'a Caller,
    pub(crate) head: &'a Head,
    pub(crate) body: &'a [u8],
    /// Of the query protocol.
    pub(crate) params: &'a Params,
}

impl Call<'_> {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    pub(crate) fn region(&self) -> &str {
        &self.caller.region
    }

    pub(crate) fn account(&self) -> &str {
        &self.caller.account
    }

    /// Whether encryption by default is on in the region.
    pub(crate) fn encrypts_by_default(&self) -> bool {
        self.shared.encrypts_by_default(self.region())
    }

    /// Whether this account made something.
    pub(crate) fn owns(&self, owner: &str) -> bool {
        self.caller.account == owner
    }
}
