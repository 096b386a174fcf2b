//! How AWS is reached: by which proxies, trusting whom, with whose credentials, and without asking whom nobody asked
//! for.

#![cfg(feature = "aws")]

#[path = "support/part.rs"]
#[allow(dead_code)] // what it runs are tools here, and no parts
mod part;
#[path = "support/proxy.rs"]
mod proxy;
mod support;
#[path = "support/tls.rs"]
mod tls;

use ec2_stand_in::{Rules, StandIn};
use proxy::Proxy;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{builder, refusal, stderr, succeed};
use tls::Authority;

const KEYS: &str = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = secret\n";
/// What is quick: less than the SDK waits for an instance's metadata, on a busy machine.
const QUICK: Duration = Duration::from_secs(8);

/// `builder aws ls` with keys in the environment, towards AWS itself.
fn list(directory: &Path, more: &[&str]) -> Command {
    let mut command = builder(directory, &[&["aws", "ls"], more].concat());
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// AWS in Frankfurt by TLS, behind a proxy with a password.
fn behind_proxy(service: &StandIn, authority: &Authority<'_>) -> Proxy {
    let certificate = authority.sign("DNS:*.eu-central-1.amazonaws.com");
    let server = tls::in_front_of(service.endpoint().trim_start_matches("http://").to_owned(), certificate);
    // printf 'me:p@ss' | base64
    Proxy::to(&server, Some("bWU6cEBzcw=="))
}

#[test]
fn aws_is_reached_through_a_proxy_and_trusted_by_a_private_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (service, authority) = (StandIn::start(Rules::default()).unwrap(), Authority::new(dir.path(), "ca"));
    let proxy = behind_proxy(&service, &authority);
    let url = format!("http://me:p%40ss@{}", proxy.address);
    let mut command = list(dir.path(), &[]);
    succeed({
        command.env("https_proxy", &url).env("AWS_CA_BUNDLE", authority.certificate());
        command
    });
    let seen = proxy.seen();
    for service in ["sts", "ec2"] {
        let connect = format!("CONNECT {service}.eu-central-1.amazonaws.com:443");
        assert!(seen.contains(&connect), "{seen:?}");
    }
    // The profile can name the authority as well.
    fs::create_dir(dir.path().join(".aws")).unwrap();
    fs::write(dir.path().join(".aws/credentials"), format!("[private]\n{KEYS}")).unwrap();
    let config = format!("[profile private]\nca_bundle = {}\n", authority.certificate().display());
    fs::write(dir.path().join(".aws/config"), config).unwrap();
    let mut command = list(dir.path(), &["--profile", "private"]);
    succeed({
        command.env("ALL_PROXY", &url);
        command
    });
}

#[test]
fn what_no_waiting_mends_is_told_at_once_and_without_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let (service, authority) = (StandIn::start(Rules::default()).unwrap(), Authority::new(dir.path(), "ca"));
    let proxy = behind_proxy(&service, &authority);
    let refused = |url: &str| {
        let (start, before) = (Instant::now(), proxy.seen().len());
        let mut command = list(dir.path(), &[]);
        let output = command.env("HTTPS_PROXY", url).output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(start.elapsed() < QUICK, "{:?}: {words}", start.elapsed());
        assert!(!words.contains("p%40ss") && !words.contains("p@ss"), "{words}");
        (words, proxy.seen().len() - before)
    };
    let (words, attempts) = refused(&format!("http://me:p%40ss@{}", proxy.address));
    assert!(words.contains("in eu-central-1: its certificate is not trusted ("), "{words}");
    assert!(words.contains("name the authority that signed it with AWS_CA_BUNDLE=FILE"), "{words}");
    assert_eq!(attempts, 1);
    let (words, attempts) = refused(&format!("http://{}", proxy.address));
    assert!(words.contains(&format!("the proxy http://{}/ wants a name and a password", proxy.address)), "{words}");
    assert_eq!(attempts, 1);
    let (words, _) = refused("ftp://me:p%40ss@proxy");
    assert!(words.contains("HTTPS_PROXY is no URL of a proxy, such as http://proxy.example:3128"), "{words}");
    let mut command = list(dir.path(), &[]);
    command.env("AWS_CA_BUNDLE", dir.path().join("nothing.pem"));
    let words = refusal(command);
    assert!(words.contains("nothing.pem: No such file"), "{words}");
}

#[test]
fn a_role_is_assumed_in_the_region_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let service = StandIn::start(Rules::default()).unwrap();
    fs::create_dir(dir.path().join(".aws")).unwrap();
    fs::write(dir.path().join(".aws/credentials"), format!("[base]\n{KEYS}")).unwrap();
    fs::write(dir.path().join("token"), "a.b.c").unwrap();
    let config = format!(
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/publisher\nsource_profile = base\n\
         [profile web]\nrole_arn = arn:aws:iam::123456789012:role/publisher\nweb_identity_token_file = {}\n",
        dir.path().join("token").display()
    );
    fs::write(dir.path().join(".aws/config"), config).unwrap();
    let list = |more: &[&str]| {
        let mut command = builder(dir.path(), &[&["aws", "ls"], more].concat());
        command.env("AWS_ENDPOINT_URL", service.endpoint());
        command
    };
    let assumed = |action: &str| service.tally().count(action);
    succeed(list(&["--profile", "role", "-r", "us-east-1"]));
    assert_eq!(assumed("AssumeRole"), 1);
    let mut command = list(&["-r", "us-east-1"]);
    succeed({
        command.env("AWS_PROFILE", "role");
        command
    });
    assert_eq!(assumed("AssumeRole"), 2);
    succeed(list(&["--profile", "web", "-r", "us-west-2"]));
    let mut command = list(&["-r", "us-west-2"]);
    succeed({
        command.env("AWS_WEB_IDENTITY_TOKEN_FILE", dir.path().join("token"));
        command.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/publisher");
        command
    });
    assert_eq!(assumed("AssumeRoleWithWebIdentity"), 2);
}

/// A server that does as it is told with each connection, and how many it had.
fn server(answer: impl Fn(&mut dyn Write) + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            answer(&mut stream);
        }
    });
    (format!("http://{address}"), count)
}

#[test]
fn keys_and_a_region_need_nothing_of_an_instance() {
    let dir = tempfile::tempdir().unwrap();
    let service = StandIn::start(Rules::default()).unwrap();
    let (metadata, asked) = server(|_| thread::sleep(Duration::from_secs(60)));
    fs::create_dir(dir.path().join(".aws")).unwrap();
    fs::write(dir.path().join(".aws/credentials"), format!("[vmify]\n{KEYS}")).unwrap();
    for in_environment in [true, false] {
        let start = Instant::now();
        let mut command = builder(dir.path(), &["aws", "ls", "-r", "us-east-1"]);
        command.env("AWS_ENDPOINT_URL", service.endpoint()).env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata);
        if in_environment {
            command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
            command.env("HOME", dir.path().join("nowhere"));
        }
        succeed(command);
        assert!(start.elapsed() < QUICK, "{:?}", start.elapsed());
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn an_answer_without_an_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (endless, asked) = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n<x>");
        let junk = [b'x'; 1 << 16];
        // Until the client has had enough.
        while stream.write_all(&junk).is_ok() {}
    });
    let mut command = list(dir.path(), &[]);
    command.env("AWS_ENDPOINT_URL", endless);
    let words = refusal(command);
    assert!(words.ends_with("sts:GetCallerIdentity in eu-central-1: its answer is longer than 64 MiB"), "{words}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
