//! Pulls from real registries: one that wants a password, one behind a certificate of an authority of its own.

#[path = "support/part.rs"]
mod part;
mod support;

use part::{Part, run};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{builder, kernel, refusal, simple_layout, succeed};

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
    assert_eq!(refusal(build(dir.path(), &name, &[])), format!("builder: {name}: http://{address}: {denied}"));
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
    let openssl = |line: &str| {
        let line: Vec<&str> = std::iter::once("openssl").chain(line.split(' ')).collect();
        run(dir.path(), "openssl", &line);
    };
    for authority in ["ca", "other"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={authority} -keyout \
             {authority}.key -out {authority}.crt -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign"
        ));
    }
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=registry -keyout server.key -out server.csr",
    );
    fs::write(dir.path().join("names"), "subjectAltName=IP:127.0.0.1,DNS:nanoos.localhost\n").unwrap();
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt -extfile names");
    let at = |name: &str| dir.path().join(name);
    let tls = serde_json::json!({ "http": { "tls": { "certificate": at("server.crt"), "key": at("server.key") } } });
    let (_registry, address) = registry(dir.path(), tls);
    fs::create_dir(at("trusted")).unwrap();
    fs::copy(at("ca.crt"), at("trusted/ca.crt")).unwrap();
    let to = format!("docker://{address}/app:1");
    let push = ["skopeo", "copy", "--quiet", "--dest-cert-dir", "trusted", "oci:image:latest", &to];
    run(dir.path(), "skopeo", &push);
    // A registry on this machine is spoken to in plain HTTP by its name, and in TLS where it is named as a mirror.
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
