//! Pulls from real registries: one that wants a password, one behind a certificate of an authority of its own.

#[path = "support/part.rs"]
mod part;
#[path = "support/proxy.rs"]
mod proxy;
mod support;
#[path = "support/tls.rs"]
mod tls;

use part::{Part, run};
use proxy::Proxy;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use support::{builder, kernel, refusal, simple_layout, succeed};
use tls::Authority;

/// A directory with an image and a kernel.
fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(&dir.path().join("image"));
    kernel(&dir.path().join("kernel"));
    dir
}

/// A registry with its storage in `dir`, and where it listens.
fn registry(dir: &Path, mut config: serde_json::Value) -> (Part, String) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    config["version"] = "0.1".into();
    config["log"] = serde_json::json!({ "level": "error", "accesslog": { "disabled": true } });
    config["storage"] = serde_json::json!({ "filesystem": { "rootdirectory": dir.join("storage") } });
    config["http"]["addr"] = address.clone().into();
    // JSON is YAML.
    fs::write(dir.join("registry.yml"), config.to_string()).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(dir.join("registry.yml")).stdout(Stdio::null()).stderr(Stdio::null());
    let part = Part::start(&mut command, "docker-registry", || TcpStream::connect(&address).is_ok());
    (part, address)
}

fn build(dir: &Path, image: &str, more: &[&str]) -> Command {
    builder(dir, &[&[image, "--image-src", "registry", "--kernel", "kernel", "-o", "x.raw"], more].concat())
}

#[test]
fn a_registry_with_a_password_is_logged_in_to() {
    let dir = workshop();
    let users = run(dir.path(), "apache2-utils", &["htpasswd", "-Bbn", "me", "secret"]);
    fs::write(dir.path().join("htpasswd"), users).unwrap();
    let path = dir.path().join("htpasswd");
    let (_registry, address) =
        registry(dir.path(), serde_json::json!({ "auth": { "htpasswd": { "realm": "r", "path": path } } }));
    let name = format!("{address}/a/app:1");
    let to = format!("docker://{name}");
    let push =
        ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "me:secret", "oci:image:latest", &to];
    run(dir.path(), "skopeo", &push);
    let denied = format!("it has no such image, or you may not read it: log in with docker login {address}");
    let refused = refusal(build(dir.path(), &name, &[]));
    assert_eq!(refused, format!("builder: {name}: http://{address}: {denied}"));
    // podman's file, then Docker's.
    let auths = format!(r#"{{"auths":{{"{address}":{{"username":"me","password":"PASSWORD"}}}}}}"#);
    fs::write(dir.path().join("auth.json"), auths.replace("PASSWORD", "secret")).unwrap();
    let mut command = build(dir.path(), &name, &[]);
    succeed({
        command.env("REGISTRY_AUTH_FILE", dir.path().join("auth.json"));
        command
    });
    fs::create_dir(dir.path().join("no-docker")).unwrap();
    fs::write(dir.path().join("no-docker/config.json"), auths.replace("PASSWORD", "wrong")).unwrap();
    let refused = refusal(build(dir.path(), &name, &[]));
    assert!(refused.ends_with(&denied), "{refused}");
}

#[test]
fn a_registry_of_a_private_authority_is_trusted_when_the_user_says_so() {
    let dir = workshop();
    let authority = Authority::new(dir.path(), "ca");
    Authority::new(dir.path(), "other");
    authority.sign("IP:127.0.0.1,DNS:nanoos.localhost");
    let at = |name: &str| dir.path().join(name);
    let tls = serde_json::json!({ "http": { "tls": { "certificate": at("server.crt"), "key": at("server.key") } } });
    let (_registry, address) = registry(dir.path(), tls);
    fs::create_dir(at("trusted")).unwrap();
    fs::copy(at("ca.crt"), at("trusted/ca.crt")).unwrap();
    let to = format!("docker://{address}/app:1");
    let push = ["skopeo", "copy", "--quiet", "--dest-cert-dir", "trusted", "oci:image:latest", &to];
    run(dir.path(), "skopeo", &push);
    // A registry on this machine is trusted by its name, and not where it is named as a mirror.
    let mirror = format!("https://{address}");
    let pull = |more: &[&str]| build(dir.path(), "docker.io/app:1", &[&["--registry-mirror", &mirror], more].concat());
    let push = ["skopeo", "copy", "--quiet", "--dest-cert-dir", "trusted", "oci:image:latest"];
    run(dir.path(), "skopeo", &[&push[..], &[&format!("docker://{address}/library/app:1")]].concat());
    let way_out = format!(
        "if it is the right server, name the authority that signed it with --registry-ca FILE, or put its certificate \
         into /etc/docker/certs.d/{address}/ca.crt"
    );
    for more in [&[][..], &["--registry-ca", "other.crt"]] {
        let refused = refusal(pull(more));
        assert!(refused.contains(&format!("mirror {mirror}: its certificate is not trusted (")), "{refused}");
        assert!(refused.contains(&way_out), "{refused}");
    }
    succeed(pull(&["--registry-ca", "ca.crt"]));
    fs::remove_dir_all(at("cache")).unwrap();
    // HOME is the directory.
    let folder = at(".config/docker/certs.d").join(&address);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(at("ca.crt"), folder.join("ca.crt")).unwrap();
    succeed(pull(&[]));
}

#[test]
fn a_registry_on_this_machine_is_reached_by_tls_and_without_it_and_by_no_proxy() {
    let dir = workshop();
    let at = |name: &str| dir.path().join(name);
    Authority::new(dir.path(), "ca").sign("DNS:elsewhere.example");
    let proxy = Proxy::to("127.0.0.1:1", None);
    let tls = serde_json::json!({ "http": { "tls": { "certificate": at("server.crt"), "key": at("server.key") } } });
    for config in [serde_json::json!({ "http": {} }), tls] {
        let (_registry, address) = registry(dir.path(), config);
        let port = address.rsplit(':').next().unwrap();
        for host in [address.clone(), format!("localhost:{port}")] {
            let to = format!("docker://{host}/app:1");
            let push = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:image:latest", &to];
            run(dir.path(), "skopeo", &push);
            let _ = fs::remove_dir_all(at("cache"));
            let mut command = build(dir.path(), &format!("{host}/app:1"), &[]);
            command.env("HTTP_PROXY", format!("http://{}", proxy.address));
            command.env("https_proxy", format!("http://{}", proxy.address));
            succeed(command);
        }
        fs::remove_dir_all(at("storage")).unwrap();
    }
    assert_eq!(proxy.seen(), [""; 0]);
}

#[test]
fn a_registry_elsewhere_is_reached_through_the_proxy() {
    let dir = workshop();
    let at = |name: &str| dir.path().join(name);
    Authority::new(dir.path(), "ca").sign("DNS:registry.example,IP:127.0.0.1");
    let tls = serde_json::json!({ "http": { "tls": { "certificate": at("server.crt"), "key": at("server.key") } } });
    let (_registry, address) = registry(dir.path(), tls);
    let to = format!("docker://{address}/app:1");
    let push = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:image:latest", &to];
    run(dir.path(), "skopeo", &push);
    // printf 'me:p@ss' | base64
    let proxy = Proxy::to(&address, Some("bWU6cEBzcw=="));
    let pull = |credentials: &str| {
        let mut command = build(dir.path(), "registry.example/app:1", &["--registry-ca", "ca.crt"]);
        command.env("HTTPS_PROXY", format!("http://{credentials}{}", proxy.address));
        command
    };
    let refused = refusal(pull("me:wrong@"));
    let expected = format!(
        "https://registry.example: the proxy http://{}/ wants a name and a password: write them into the variable that \
         names it, as http://NAME:PASSWORD@HOST:PORT",
        proxy.address
    );
    assert!(refused.ends_with(&expected), "{refused}");
    succeed(pull("me:p%40ss@"));
    assert!(proxy.seen().iter().all(|request| request == "CONNECT registry.example:443"), "{:?}", proxy.seen());
}

/// A registry that asks for a token of its service at `realm`, which leads elsewhere.
fn asking(realm: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            let head = match request[..length].split(|byte| *byte == b' ').nth(1) {
                Some(path) if path.starts_with(b"/token") => {
                    "307 Elsewhere\r\nLocation: https://elsewhere.example/token".to_owned()
                }
                _ => format!("401 Who\r\nWWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\""),
            };
            let _ = write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn a_token_service_passes_a_password_on_to_nobody_and_none_goes_out_in_the_clear() {
    let dir = workshop();
    let certificate = Authority::new(dir.path(), "ca").sign("DNS:registry.example");
    fs::create_dir(dir.path().join("no-docker")).unwrap();
    for (realm, login, told) in [
        ("http://auth.example/token", r#""username":"me","password":"secret""#, "does not speak TLS"),
        ("http://auth.example/token", r#""identitytoken":"secret""#, "does not speak TLS"),
        (
            "https://registry.example/token",
            r#""username":"me","password":"secret""#,
            "leads elsewhere (307 Temporary Redirect)",
        ),
        ("https://registry.example/token", r#""identitytoken":"secret""#, "leads elsewhere (307 Temporary Redirect)"),
    ] {
        let config = format!(r#"{{"auths":{{"registry.example":{{{login}}}}}}}"#);
        fs::write(dir.path().join("no-docker/config.json"), config).unwrap();
        let proxy = Proxy::to(&tls::in_front_of(asking(realm), certificate.clone()), None);
        let mut command = build(dir.path(), "registry.example/app:1", &["--registry-ca", "ca.crt"]);
        command.env("ALL_PROXY", format!("http://{}", proxy.address));
        let refused = refusal(command);
        let why = format!("https://registry.example: its token service {realm} {told}: no credentials are sent there");
        assert!(refused.ends_with(&why), "{refused}");
        assert!(proxy.seen().iter().all(|request| request == "CONNECT registry.example:443"), "{:?}", proxy.seen());
    }
}

#[test]
fn each_group_of_a_registry_has_its_own_password_and_files_that_are_damaged_stop_no_public_pull() {
    let dir = workshop();
    let users = run(dir.path(), "apache2-utils", &["htpasswd", "-Bbn", "b", "secret"]);
    fs::write(dir.path().join("htpasswd"), users).unwrap();
    let path = dir.path().join("htpasswd");
    let (private, address) =
        registry(dir.path(), serde_json::json!({ "auth": { "htpasswd": { "realm": "r", "path": path } } }));
    let to = format!("docker://{address}/group-b/app:1");
    let push = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "b:secret"];
    run(dir.path(), "skopeo", &[&push[..], &["oci:image:latest", &to]].concat());
    fs::create_dir(dir.path().join("no-docker")).unwrap();
    let pull = |image: &str, config: &str| {
        let config = config.replace("HOST", &address);
        fs::write(dir.path().join("no-docker/config.json"), config).unwrap();
        let _ = fs::remove_dir_all(dir.path().join("cache"));
        build(dir.path(), &format!("{address}/{image}"), &[])
    };
    let entry = |key: &str, user: &str| format!(r#""HOST/{key}":{{"username":"{user}","password":"secret"}}"#);
    let groups = format!(r#"{{"auths":{{{},{}}}}}"#, entry("group-a", "a"), entry("group-b", "b"));
    let groups = groups.as_str();
    succeed(pull("group-b/app:1", groups));
    let denied = format!("it has no such image, or you may not read it: log in with docker login {address}");
    let others = groups.replace("group-b", "group-c");
    assert!(refusal(pull("group-b/app:1", &others)).ends_with(&denied));
    for (config, why) in [
        ("{\"auths\":", "it is no JSON (line 1, column 9)"),
        (r#"{"auths":["secret"]}"#, "auths is no object"),
        (r#"{"auths":{"HOST":{"auth":"%%%"}}}"#, "are not base64 of USER:PASSWORD"),
    ] {
        let refused = refusal(pull("group-b/app:1", config));
        assert!(refused.contains(&denied) && refused.contains(why), "{refused}");
        assert!(refused.contains("no-docker/config.json: "), "{refused}");
    }
    drop(private);
    let (_public, address) = registry(dir.path(), serde_json::json!({ "http": {} }));
    for config in ["", "\u{feff}{\"auths\":null}", "{", r#"{"auths":{"HOST":{"auth":"%%%"}},"credsStore":7}"#] {
        fs::write(dir.path().join("no-docker/config.json"), config.replace("HOST", &address)).unwrap();
        let _ = fs::remove_dir_all(dir.path().join("cache"));
        succeed(build(dir.path(), &format!("{address}/group-b/app:1"), &[]));
    }
}

#[test]
fn indexes_with_attestations_and_layers_of_all_kinds_are_read() {
    let dir = workshop();
    let (_registry, address) = registry(dir.path(), serde_json::json!({ "http": {} }));
    let plain = |name: &str| {
        succeed(build(dir.path(), &format!("{address}/{name}"), &[]));
        fs::read(dir.path().join("x.raw")).unwrap()
    };
    let push = |name: &str, more: &[&str]| {
        let to = format!("docker://{address}/{name}");
        let line = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false"];
        run(dir.path(), "skopeo", &[&line[..], more, &["oci:image:latest", &to]].concat());
    };
    push("app:gzip", &["--dest-compress-format", "gzip"]);
    push("app:zstd", &["--dest-compress-format", "zstd"]);
    push("app:chunked", &["--dest-compress-format", "zstd:chunked"]);
    let disk = plain("app:gzip");
    assert!(plain("app:zstd") == disk && plain("app:chunked") == disk);
    // An index of this image, the same for another platform, and an attestation, as Docker's buildx pushes it.
    let digest = |tag: &str| {
        let from = format!("docker://{address}/app:{tag}");
        let line = ["skopeo", "inspect", "--tls-verify=false", "--raw", &from];
        let raw = Command::new(line[0]).args(&line[1..]).output().unwrap().stdout;
        (builder::digest::Digest::of(&raw), raw.len())
    };
    let ((image, len), (other, other_len)) = (digest("gzip"), digest("zstd"));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let entry = |digest, size, os: &str, architecture: &str, more: &str| {
        format!(
            r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size},"platform":{{"os":"{os}","architecture":"{architecture}"}}{more}}}"#
        )
    };
    let attestation = format!(
        r#","annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{image}"}}"#
    );
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{},{},{}]}}"#,
        entry(other, other_len, "unknown", "unknown", &attestation),
        entry(other, other_len, "linux", "arm64", ""),
        entry(image, len, "linux", "amd64", ""),
    );
    fs::write(dir.path().join("index"), index).unwrap();
    let put = ["-X", "PUT", "-H", "Content-Type: application/vnd.oci.image.index.v1+json", "--data-binary", "@index"];
    let url = format!("http://{address}/v2/app/manifests/many");
    run(dir.path(), "curl", &[&["curl", "--fail", "--silent", "--show-error"], &put[..], &[&url]].concat());
    assert!(plain("app:many") == disk);
}
