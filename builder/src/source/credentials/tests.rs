use super::files::Form;
use super::*;

fn logins(files: &[&str]) -> Logins {
    let parse = |json: &&str| Config::parse("f".to_owned(), json.as_bytes(), Form::Sections);
    Logins(files.iter().map(parse).collect())
}

fn password(user: &str, password: &str) -> Login {
    Login::Password(user.to_owned(), password.to_owned())
}

/// Entries of these keys, each with its key as the user's name.
fn keys(keys: &[&str]) -> Logins {
    let entries: Vec<String> =
        keys.iter().map(|key| format!(r#""{key}":{{"username":"{key}","password":"p"}}"#)).collect();
    logins(&[&format!(r#"{{"auths":{{{}}}}}"#, entries.join(","))])
}

/// The key whose password an image is asked for with; `-` for none.
fn key(logins: &Logins, registry: &str, repository: &str) -> String {
    match logins.credentials(registry, repository).login {
        Login::Password(user, _) => user,
        Login::Anonymous => "-".to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn logins_are_found_by_host_however_their_key_is_written() {
    // printf 'me:pass:word' | base64
    let logins = logins(&[
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzczp3b3Jk"},
            "localhost:5000":{"username":"u","password":"p"},"empty.example":{},
            "id.example":{"auth":"bWU6cGFzczp3b3Jk","identitytoken":"i"},"token.example":{"registrytoken":"t"}}}"#,
        r#"{"auths":{"localhost:5000":{"username":"other","password":"p"},"quay.io":{"username":"q","password":"p"}}}"#,
    ]);
    let login = |registry| logins.credentials(registry, "a/app").login;
    assert_eq!(login("docker.io"), password("me", "pass:word"));
    assert_eq!(login("localhost:5000"), password("u", "p"));
    assert_eq!(login("quay.io"), password("q", "p"));
    assert_eq!(login("id.example"), Login::Identity("i".to_owned()));
    assert_eq!(login("token.example"), Login::Token("t".to_owned()));
    assert_eq!(login("empty.example"), Login::Anonymous);
    assert_eq!(login("other.example"), Login::Anonymous);
}

#[test]
fn docker_hub_has_many_names() {
    for name in
        ["docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/", "http://docker.io"]
    {
        assert_eq!(key(&keys(&[name]), "docker.io", "library/nginx"), name);
    }
    // What podman writes counts before what Docker writes, in one file.
    let both = keys(&["https://index.docker.io/v1/", "docker.io"]);
    assert_eq!(key(&both, "docker.io", "library/nginx"), "docker.io");
    assert_eq!(key(&keys(&["docker.io/me", "index.docker.io"]), "docker.io", "me/app"), "docker.io/me");
    assert_eq!(key(&keys(&["docker.io.example", "ghcr.io"]), "docker.io", "library/nginx"), "-");
}

#[test]
fn the_longest_key_counts_and_no_other_group_gets_its_password() {
    let all = keys(&["h.example/a", "h.example/b", "h.example/b/app", "h.example", "h.example:5000"]);
    assert_eq!(key(&all, "h.example", "a/app"), "h.example/a");
    assert_eq!(key(&all, "h.example", "b/app"), "h.example/b/app");
    assert_eq!(key(&all, "h.example", "b/other/app"), "h.example/b");
    assert_eq!(key(&all, "h.example", "bb/app"), "h.example");
    assert_eq!(key(&all, "h.example:5000", "a/app"), "h.example:5000");
    let groups = keys(&["h.example/a", "h.example/b"]);
    assert_eq!(key(&groups, "h.example", "b/app"), "h.example/b");
    for (registry, repository) in [
        ("h.example", "c/app"),
        ("h.example", "app"),
        ("h.example", "aa/app"),
        ("h.example:443", "a/app"),
        ("g.example", "a/app"),
        ("sub.h.example", "a/app"),
    ] {
        assert_eq!(key(&groups, registry, repository), "-", "{registry}/{repository}");
    }
}

#[test]
fn the_path_of_a_url_says_nothing_and_its_host_all() {
    let urls = keys(&["https://h.example/v2/", "http://g.example:80/x"]);
    assert_eq!(key(&urls, "h.example", "a/app"), "https://h.example/v2/");
    assert_eq!(key(&urls, "g.example:80", "y"), "http://g.example:80/x");
    assert_eq!(key(&urls, "g.example", "x"), "-");
    assert_eq!(key(&keys(&["H.Example/"]), "h.example", "a"), "H.Example/");
}

#[test]
fn a_file_without_the_key_leaves_it_to_the_next() {
    let first = r#"{"auths":{"h.example/a":{"username":"a","password":"p"},"h.example":{}}}"#;
    let second = r#"{"auths":{"h.example":{"username":"second","password":"p"}}}"#;
    let both = logins(&[first, second]);
    assert_eq!(key(&both, "h.example", "a/app"), "a");
    assert_eq!(key(&both, "h.example", "b/app"), "second");
}

#[test]
fn a_helper_that_cannot_be_asked_is_told_only_if_the_registry_refuses() {
    let logins = logins(&[r#"{"credHelpers":{"ecr.example":"nowhere-to-be-found"},"auths":{"quay.io":{}}}"#]);
    let found = logins.credentials("ecr.example", "app");
    assert_eq!(found.login, Login::Anonymous);
    assert!(found.hint.unwrap().starts_with("docker-credential-nowhere-to-be-found get for ecr.example: "));
    assert_eq!(logins.credentials("quay.io", "app").hint, None);
    let hint = logins.credentials("1.dkr.ecr.eu-central-1.amazonaws.com", "app").hint.unwrap();
    assert!(hint.contains(r#"{"credHelpers":{"1.dkr.ecr.eu-central-1.amazonaws.com":"ecr-login"}}"#), "{hint}");
}

#[test]
fn a_helper_of_a_host_is_asked_for_no_part_that_has_its_own_password() {
    let logins =
        logins(&[r#"{"credsStore":"nowhere-to-be-found","auths":{"h.example/a":{"username":"a","password":"p"}}}"#]);
    assert_eq!(logins.credentials("h.example", "a/app"), Credentials { login: password("a", "p"), hint: None });
    assert!(logins.credentials("h.example", "b/app").hint.is_some());
}

#[test]
fn what_is_damaged_stops_no_public_pull_and_is_told_if_the_registry_refuses() {
    let found = logins(&[r#"{"auths":{"quay.io":{"auth":"%%%"}}}"#]).credentials("quay.io", "app");
    assert_eq!(found.login, Login::Anonymous);
    assert_eq!(
        found.hint.as_deref(),
        Some("f: the credentials for quay.io are not base64 of USER:PASSWORD: docker login quay.io again")
    );
    let found = logins(&["{", r#"{"auths":{"quay.io":{"username":"u","password":"p"}}}"#]);
    assert_eq!(found.credentials("quay.io", "app").login, password("u", "p"));
    assert_eq!(found.credentials("ghcr.io", "app").hint.as_deref(), Some("f: it is no JSON (line 1, column 1)"));
}
