//! The page: what this machine is, and facts that show it is one.

use std::fs;

/// The page as HTML, with what the kernel says right now.
pub(crate) fn html() -> String {
    let uptime = read("/proc/uptime").split(['.', ' ']).next().and_then(|text| text.parse().ok());
    render(&read("/proc/sys/kernel/hostname"), &read("/proc/sys/kernel/osrelease"), uptime)
}

/// A fact that cannot be read is shown as missing; the page is served all the same.
fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn render(hostname: &str, kernel: &str, uptime: Option<u64>) -> String {
    let (hostname, kernel) = (escape(hostname), escape(kernel));
    let uptime = uptime.map_or_else(|| "unknown".to_owned(), duration);
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hello from NanoOS</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem; color: #223 }}
h1 {{ font-weight: 600 }}
dl {{ display: grid; grid-template-columns: max-content auto; gap: .2rem 1.2rem }}
dt {{ color: #667 }}
dd {{ margin: 0; font-family: ui-monospace, monospace }}
</style>
<h1>Hello from NanoOS</h1>
<p>This page comes from a machine that holds a Linux kernel, one small init, and this web server. Nothing else.</p>
<dl>
<dt>host name</dt><dd>{hostname}</dd>
<dt>kernel</dt><dd>{kernel}</dd>
<dt>up for</dt><dd>{uptime}</dd>
</dl>
</html>
"#
    )
}

/// Seconds, as a person says them.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_shown_and_cannot_break_the_page() {
        let page = render("<b>&", "6.12.1", Some(61));
        assert!(page.contains("<dd>&lt;b&gt;&amp;</dd>"), "{page}");
        assert!(page.contains("<dd>6.12.1</dd>"), "{page}");
        assert!(page.contains("<dd>1 min 1 s</dd>"), "{page}");
        assert!(render("a", "b", None).contains("<dd>unknown</dd>"));
    }

    #[test]
    fn durations_read_well_at_every_length() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3_599), "59 min 59 s");
        assert_eq!(duration(7_260), "2 h 1 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
