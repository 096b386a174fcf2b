//! Which proxy a request goes through, by the variables that curl, Go's programs and AWS's tools read.

use reqwest::Url;
use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

/// What a proxy may be spoken to in.
const SCHEMES: &[&str] = &["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// A variable that can't be understood. It counts only for requests that would go by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

/// The proxies for each kind of request, and whom they are not for.
#[derive(Clone)]
pub struct Proxies {
    http: Result<Option<Url>, Malformed>,
    https: Result<Option<Url>, Malformed>,
    exceptions: Result<Vec<Exception>, Malformed>,
}

impl Default for Proxies {
    fn default() -> Self {
        Proxies { http: Ok(None), https: Ok(None), exceptions: Ok(Vec::new()) }
    }
}

impl fmt::Debug for Proxies {
    // A proxy's URL may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |proxy: &Result<Option<Url>, Malformed>| {
            proxy.clone().map(|url| url.map(|url| without_credentials(url.as_str()).into_owned()))
        };
        let (http, https) = (shown(&self.http), shown(&self.https));
        f.debug_struct("Proxies").field("http", &http).field("https", &https).finish_non_exhaustive()
    }
}

impl Proxies {
    /// As these variables have it. The name in lower case counts before the one in upper case, even if it is empty
    /// (curl(1), "Environment").
    #[must_use]
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // A web server hands a request's header "Proxy" to its programs as HTTP_PROXY (CVE-2016-5385).
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let find = |name: &'static str| {
            let upper = if is_cgi && name == "http_proxy" { None } else { Some(name.to_ascii_uppercase()) };
            let named = std::iter::once(name.to_owned()).chain(upper);
            named.into_iter().find_map(|name| variable(&name).map(|value| (name, value)))
        };
        let proxy = |name| {
            let Some((name, value)) = find(name) else { return Ok(None) };
            if value.is_empty() {
                return Ok(None);
            }
            // It is not shown: it may have a password.
            let malformed = || Malformed(format!("{name} is no URL of a proxy, such as http://proxy.example:3128"));
            value.to_str().and_then(parse).ok_or_else(malformed).map(Some)
        };
        let named = |name| proxy(if find(name).is_some() { name } else { "all_proxy" });
        let exceptions = match find("no_proxy").map(|(name, value)| (name, value.into_string())) {
            Some((_, Ok(list))) => Ok(exceptions(&list)),
            Some((name, Err(_))) => Err(Malformed(format!("{name} is no list of hosts: it is not UTF-8"))),
            None => Ok(Vec::new()),
        };
        Proxies { http: named("http_proxy"), https: named("https_proxy"), exceptions }
    }

    /// The proxy for a request, with the credentials for it.
    ///
    /// # Errors
    /// When a variable that tells it is malformed.
    pub fn of_url(&self, url: &Url) -> Result<Option<&Url>, &Malformed> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => return Ok(None),
        };
        let Some(host) = url.host_str() else { return Ok(None) };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if is_near(&host) || matches!(proxy, Ok(None)) {
            return Ok(None);
        }
        let direct = |exception: &Exception| exception.holds(&host, url.port_or_known_default());
        if self.exceptions.as_ref()?.iter().any(direct) { Ok(None) } else { proxy.map(Option::as_ref) }
    }
}

fn parse(text: &str) -> Option<Url> {
    let text = text.trim();
    let url = if text.contains("://") { text.parse() } else { format!("http://{text}").parse() };
    url.ok().filter(|url: &Url| SCHEMES.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty()))
}

/// A URL without the user's name and password. It need not be a valid one.
pub(crate) fn without_credentials(url: &str) -> Cow<'_, str> {
    let start = url.find("://").map_or(0, |at| at + 3);
    let authority = url[start..].split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => Cow::Owned(format!("{}{}", &url[..start], &url[start + at + 1..])),
        None => Cow::Borrowed(url),
    }
}

fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Whether a host, perhaps with a port, is this very machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = without_port(host);
    host == "localhost" || address(&host).is_some_and(|address| address.is_loopback())
}

fn without_port(host: &str) -> String {
    let host = match host.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && (!host.contains(':') || host.ends_with(']')) => host,
        _ => host,
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// What no proxy stands between, whatever the variables say: this machine, and its own link. A proxy's answer in place
/// of the metadata service would have another machine's credentials.
fn is_near(host: &str) -> bool {
    // A name below localhost should be this machine (RFC 6761, 6.3), but some resolvers ask DNS for it: it is not proxied,
    // and not trusted as this machine is.
    is_loopback(host)
        || without_port(host).ends_with(".localhost")
        || match address(host) {
            Some(IpAddr::V4(address)) => address.is_link_local(),
            // The second one is where EC2 answers by IPv6 what 169.254.0.0/16 answers by IPv4.
            Some(IpAddr::V6(address)) => address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0x0ec2],
            None => false,
        }
}

/// Whom a proxy is not for: an entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    All,
    Address(IpAddr, Option<u16>),
    Network(IpAddr, u8),
    /// A domain and those below it.
    Domain(String, Option<u16>),
}

fn exceptions(list: &str) -> Vec<Exception> {
    let entries = list.split(|character: char| character == ',' || character.is_whitespace());
    entries.filter(|entry| !entry.is_empty()).map(Exception::parse).collect()
}

impl Exception {
    fn parse(entry: &str) -> Self {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" {
            return Exception::All;
        }
        if let Some((network, length)) = entry.split_once('/')
            && let (Some(network), Ok(length)) = (address(network), length.parse())
            && length <= bits(network).1
        {
            return Exception::Network(network, length);
        }
        if let Some(address) = address(&entry) {
            return Exception::Address(address, None);
        }
        let (host, port) = match entry.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, Some(port)),
            _ => (entry.as_str(), None),
        };
        match address(host) {
            Some(address) => Exception::Address(address, port),
            None => {
                let domain = host.strip_prefix('*').unwrap_or(host).trim_matches('.');
                Exception::Domain(domain.to_owned(), port)
            }
        }
    }

    fn holds(&self, host: &str, port: Option<u16>) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match self {
            Exception::All => true,
            Exception::Address(wanted, at) => address(host) == Some(*wanted) && fits(at),
            Exception::Network(network, length) => address(host).is_some_and(|address| {
                let ((network, of), (address, its)) = (bits(*network), bits(address));
                let shift = u32::from(of - length);
                of == its && network.checked_shr(shift) == address.checked_shr(shift)
            }),
            Exception::Domain(domain, at) => {
                let below = host.strip_suffix(domain.as_str());
                !domain.is_empty() && below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) && fits(at)
            }
        }
    }
}

/// An address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()))
    }

    /// The proxy for each URL, `-` for none.
    fn of(variables: &[(&str, &str)], urls: &[&str]) -> Vec<String> {
        let proxies = proxies(variables);
        let of =
            |url: &&str| proxies.of_url(&url.parse().unwrap()).unwrap().map_or("-".to_owned(), ToString::to_string);
        urls.iter().map(of).collect()
    }

    #[test]
    fn each_scheme_has_its_proxy_and_lower_case_counts_first() {
        let both = ["http://a.example/", "https://a.example/"];
        assert_eq!(of(&[], &both), ["-", "-"]);
        assert_eq!(of(&[("HTTPS_PROXY", "http://p:1")], &both), ["-", "http://p:1/"]);
        assert_eq!(of(&[("HTTP_PROXY", "p:1"), ("https_proxy", "q:2")], &both), ["http://p:1/", "http://q:2/"]);
        assert_eq!(of(&[("ALL_PROXY", "socks5h://p:1"), ("http_proxy", "http://q")], &both)[1], "socks5h://p:1");
        assert_eq!(of(&[("HTTPS_PROXY", "http://p"), ("https_proxy", "http://q")], &both)[1], "http://q/");
        assert_eq!(of(&[("HTTPS_PROXY", "http://p"), ("https_proxy", "")], &both)[1], "-");
        assert_eq!(of(&[("ALL_PROXY", "http://p"), ("HTTP_PROXY", "")], &both), ["-", "http://p/"]);
        let cgi = ("REQUEST_METHOD", "GET");
        assert_eq!(of(&[cgi, ("HTTP_PROXY", "p"), ("HTTPS_PROXY", "p")], &both), ["-", "http://p/"]);
        assert_eq!(of(&[cgi, ("http_proxy", "p")], &both[..1]), ["http://p/"]);
        assert_eq!(of(&[("https_proxy", "http://me:pa%40ss@p:1")], &both)[1], "http://me:pa%40ss@p:1/");
    }

    #[test]
    fn no_proxy_has_domains_addresses_networks_and_ports() {
        let direct = |list: &str, url: &str| of(&[("ALL_PROXY", "http://p"), ("NO_PROXY", list)], &[url]) == ["-"];
        for (list, url) in [
            ("*", "https://a.example"),
            ("a.example", "https://a.example"),
            ("a.example", "https://b.A.example"),
            (".a.example", "https://b.a.example"),
            (".a.example", "https://a.example"),
            ("*.a.example", "https://b.a.example"),
            ("x, A.EXAMPLE.", "https://a.example."),
            ("x a.example", "https://a.example"),
            ("a.example:443", "https://a.example"),
            ("a.example:8443", "https://a.example:8443"),
            ("10.1.2.3", "http://10.1.2.3:5000"),
            ("10.1.2.3:5000", "http://10.1.2.3:5000"),
            ("10.1.0.0/16", "http://10.1.2.3"),
            ("0.0.0.0/0", "http://10.1.2.3"),
            ("fd12::/16", "http://[fd12::1]"),
            ("[fd12::1]:80", "http://[fd12::1]"),
            ("fd12::1", "http://[fd12::1]"),
        ] {
            assert!(direct(list, url), "{list} {url}");
        }
        for (list, url) in [
            ("", "https://a.example"),
            ("example", "https://a.examples"),
            ("a.example", "https://ba.example"),
            ("a.example:443", "https://a.example:8443"),
            ("a.example:8443", "https://a.example"),
            ("10.1.0.0/16", "http://10.2.0.1"),
            ("10.1.0.0/33", "http://10.1.0.1"),
            ("10.1.0.0/16", "http://a10.1.0.1.example"),
            ("::/0", "http://10.1.2.3"),
            (".", "https://a.example"),
        ] {
            assert!(!direct(list, url), "{list} {url}");
        }
    }

    #[test]
    fn this_machine_and_its_link_are_never_proxied() {
        let all = [("ALL_PROXY", "http://p"), ("NO_PROXY", "")];
        let near = [
            "http://localhost:5000",
            "https://registry.localhost",
            "http://127.8.9.1",
            "http://[::1]:5000",
            "http://[::ffff:127.0.0.1]",
            "http://169.254.169.254/latest",
            "http://169.254.170.2",
            "http://[fd00:ec2::254]",
            "http://[fe80::1]",
        ];
        assert_eq!(of(&all, &near), ["-"; 9]);
        let far = ["http://localhost.example", "http://128.0.0.1", "http://[fd00:ec3::1]", "http://170.254.169.254"];
        assert_eq!(of(&all, &far), ["http://p/"; 4]);
    }

    #[test]
    fn hosts_of_this_machine_are_known_with_and_without_a_port() {
        for (host, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("[::1]:5000", true),
            ("[::1]", true),
            ("LOCALHOST.:5000", true),
            ("localhost.example", false),
            ("registry.localhost", false),
            ("10.0.0.1:5000", false),
            ("2001:db8::1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_told_without_its_password() {
        for value in ["http://me:hunter2@", "ftp://me:hunter2@p", "http://me:hunter2@p:99999", "me:hunter2@p:x"] {
            let malformed = proxies(&[("HTTPS_PROXY", value), ("NO_PROXY", "b.example")]);
            let refusal = malformed.of_url(&"https://a.example".parse().unwrap()).unwrap_err().to_string();
            assert_eq!(refusal, "HTTPS_PROXY is no URL of a proxy, such as http://proxy.example:3128");
            // Other requests do not go by it.
            for url in ["http://a.example", "https://localhost:5000", "https://b.example"] {
                assert_eq!(malformed.of_url(&url.parse().unwrap()), Ok(None), "{url}");
            }
        }
        let shown = format!("{:?}", proxies(&[("http_proxy", "http://me:hunter2@p:1")]));
        assert!(shown.contains("http://p:1/") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn urls_are_shown_without_credentials() {
        assert_eq!(without_credentials("http://me:pa@ss@h:1/x@y"), "http://h:1/x@y");
        assert_eq!(without_credentials("me:pass@h:1"), "h:1");
        assert_eq!(without_credentials("https://h/p?a@b"), "https://h/p?a@b");
    }
}
