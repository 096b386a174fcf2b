//! Token services of registries: what they are asked with, and where they may lead.

#[path = "support/registry.rs"]
mod registry;
mod support;

use builder::cache::Cache;
use builder::digest::Digest;
use registry::{Manner, Registry, large_layer};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::{builder, kernel, refusal, succeed};

#[test]
fn token_services_take_passwords_and_identity_tokens_from_files_and_helpers() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(Manner::Asking, &large_layer());
    kernel(&dir.path().join("kernel"));
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let helper = |name: &str, script: &str| {
        let path = bin.join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\nread server\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let answer = |user: &str, secret: &str| format!("echo '{{\"Username\":\"{user}\",\"Secret\":\"{secret}\"}}'");
    helper("good", &format!("test \"$1 $server\" = 'get {}' && {}", registry.address, answer("me", "secret")));
    helper("identity", &answer("<token>", "identity"));
    helper("wrong", &answer("me", "forgotten"));
    helper("empty", "echo 'credentials not found in native keychain'; exit 1");
    helper("broken", "echo 'the vault is locked'; exit 3");
    let attempt = |config: &str| {
        let docker = dir.path().join("docker");
        fs::create_dir_all(&docker).unwrap();
        fs::write(docker.join("config.json"), config.replace("HOST", &registry.address)).unwrap();
        let image = format!("docker://{}/app", registry.address);
        let mut command = builder(dir.path(), &[&image, "--kernel", "kernel", "-o", "x.raw"]);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        command.env("DOCKER_CONFIG", docker).env("PATH", path);
        // Each of them asks again.
        command.env("NANOOS_CACHE", dir.path().join(format!("cache-{}", Digest::of(config.as_bytes()).short())));
        command
    };
    succeed(attempt(r#"{"auths":{"HOST":{"auth":"bWU6c2VjcmV0"}}}"#));
    succeed(attempt(r#"{"auths":{"HOST":{"identitytoken":"identity"}}}"#));
    succeed(attempt(r#"{"credHelpers":{"HOST":"good"}}"#));
    succeed(attempt(r#"{"credsStore":"identity"}"#));
    succeed(attempt(r#"{"credsStore":"empty","auths":{"HOST":{"auth":"bWU6c2VjcmV0"}}}"#));
    let login = format!("log in with docker login {}", registry.address);
    let refused = refusal(attempt(r#"{"credsStore":"wrong"}"#));
    assert!(refused.contains(&format!("it refuses the credentials (who are you?): {login}")), "{refused}");
    let refused = refusal(attempt(r#"{"credsStore":"broken"}"#));
    let why = format!(
        "(docker-credential-broken get for {}: it ended with exit status: 3: the vault is locked)",
        registry.address
    );
    assert!(refused.ends_with(&format!("{login} {why}")), "{refused}");
}

#[test]
fn a_token_service_may_lead_elsewhere_where_no_credentials_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    kernel(&dir.path().join("kernel"));
    let layer = large_layer();
    let elsewhere = Registry::start(Manner::Open, &layer);
    let port = elsewhere.address.rsplit(':').next().unwrap().parse().unwrap();
    let registry = Registry::start(Manner::Leading(port), &layer);
    registry.pull(&Cache::open(&dir.path().join("anonymous")).unwrap()).unwrap();
    assert_eq!(elsewhere.seen.lock().unwrap().iter().filter(|line| line.contains("/token")).count(), 1);

    elsewhere.seen.lock().unwrap().clear();
    fs::create_dir(dir.path().join("no-docker")).unwrap();
    for login in [r#""auth":"bWU6c2VjcmV0""#, r#""identitytoken":"identity""#] {
        let config = format!(r#"{{"auths":{{"{}":{{{login}}}}}}}"#, registry.address);
        fs::write(dir.path().join("no-docker/config.json"), config).unwrap();
        let image = format!("docker://{}/app", registry.address);
        let refused = refusal(builder(dir.path(), &[&image, "--kernel", "kernel", "-o", "x.raw"]));
        let why = format!(
            "its token service http://{}/token leads elsewhere (307 Temporary Redirect): no credentials are sent there",
            registry.address
        );
        assert!(refused.ends_with(&why), "{refused}");
        assert!(registry.seen.lock().unwrap().iter().any(|line| line.ends_with(", with a secret")), "none was sent");
    }
    assert_eq!(elsewhere.seen.lock().unwrap()[..], [""; 0]);
}
