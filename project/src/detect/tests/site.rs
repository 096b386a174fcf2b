//! Static sites.

use super::{base, plan, plan_of, started};
use crate::plan::{Build, Wishes};

#[test]
fn the_directory_that_is_shown() {
    for (files, directory) in [
        (&["index.html", "style.css"][..], ""),
        (&["public/index.html"], "public"),
        (&["_site/index.html", "index.html"], "_site"),
        (&["dist/index.html", "public/index.html"], "dist"),
        (&["index.html", "dist/app.js"], ""),
    ] {
        let files: Vec<_> = files.iter().map(|file| (*file, "")).collect();
        assert_eq!(plan(&files).packed, directory, "{files:?}");
    }
    let both = plan(&[("dist/index.html", ""), ("index.html", "")]);
    assert_eq!(both.warnings, ["dist/ is shown, and not index.html"]);
}

#[test]
fn nginx_shows_it() {
    let found = plan(&[("index.html", "")]);
    assert_eq!((base(&found), &found.build), ("nginx:stable-alpine", &Build::None));
    assert_eq!(started(&found), "nginx -e stderr -c /etc/nanoos/nginx.conf");
    let text = &found.added["/etc/nanoos/nginx.conf"];
    for line in ["listen 8080;", "listen [::]:8080;", "root /app;", "server_tokens off;", "pid /tmp/nginx.pid;"] {
        assert!(text.lines().any(|of| of.trim() == line), "{line}: {text}");
    }
    assert!(!text.contains('@') && !text.contains("error_page"), "{text}");
    let wishes = Wishes { port: Some(80), ..Wishes::default() };
    let text =
        &plan_of(&[("public/index.html", ""), ("public/404.html", "")], &wishes, &[]).added["/etc/nanoos/nginx.conf"];
    assert!(text.contains("listen [::]:80;") && text.contains("error_page 404 /404.html;"), "{text}");
}
