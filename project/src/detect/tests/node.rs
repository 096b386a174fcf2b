//! Node.

use super::{base, in_base, plan, refusal, started};
use crate::plan::Build;

const LOCKED: (&str, &str) = ("package-lock.json", "{}");

#[track_caller]
fn package(text: &str) -> crate::plan::Plan {
    plan(&[("package.json", text), ("index.js", ""), LOCKED])
}

#[test]
fn what_is_started() {
    let scripts = "export PATH=\"$PWD/node_modules/.bin:$PATH\"; ";
    for (text, command) in [
        (r#"{"scripts":{"start":"node server.js --port 1"}}"#, "node server.js --port 1".to_owned()),
        (r#"{"scripts":{"start":"next start"}}"#, format!("sh: {scripts}next start")),
        (r#"{"scripts":{"start":"NODE_OPTIONS=x node a"}}"#, format!("sh: {scripts}NODE_OPTIONS=x node a")),
        (r#"{"scripts":{"start":"node $FILE"}}"#, format!("sh: {scripts}node $FILE")),
        (r#"{"scripts":{"start":"vite preview"}}"#, format!("sh: {scripts}vite preview --host 0.0.0.0 --port $PORT")),
        (r#"{"scripts":{"prestart":"x","start":"node a"}}"#, "npm start".to_owned()),
        (r#"{"scripts":{"start":"npm run serve"}}"#, "npm start".to_owned()),
        (r#"{"main":"./index"}"#, "node index.js".to_owned()),
        (r#"{"main":"dist/main.js","scripts":{"build":"tsc"}}"#, "node dist/main.js".to_owned()),
        (r#"{"main":"dist/main.js"}"#, "node index.js".to_owned()),
        (r#"{}"#, "node index.js".to_owned()),
    ] {
        let plan = package(text);
        assert_eq!(started(&plan), command, "{text}");
    }
    let plan = plan(&[("package.json", "{}"), ("index.js", ""), ("server.js", "")]);
    assert_eq!((started(&plan).as_str(), plan.processes["web"].decided_by.as_str()), ("node server.js", "server.js"));
}

#[test]
fn which_node() {
    let of = |files: &[(&str, &str)]| base(&plan(&[&[("server.js", "")][..], files].concat())).to_owned();
    assert_eq!(of(&[("package.json", "{}")]), "node:24-slim");
    let engines = ("package.json", r#"{"engines":{"node":"20.x || >=22"}}"#);
    assert_eq!(of(&[engines, (".nvmrc", "18")]), "node:24-slim");
    assert_eq!(of(&[("package.json", "{}"), (".nvmrc", "v20.11.1\n")]), "node:20.11.1-slim");
    assert_eq!(of(&[("package.json", "{}"), (".nvmrc", "lts/iron")]), "node:20-slim");
    assert_eq!(of(&[("package.json", "{}"), (".nvmrc", "lts/*"), (".node-version", "18")]), "node:24-slim");
    assert_eq!(of(&[("package.json", "{}"), (".node-version", "18\n")]), "node:18-slim");
    assert_eq!(
        refusal(&[("package.json", r#"{"engines":{"node":">=99"}}"#), ("server.js", "")]),
        "engines.node of package.json says \">=99\", and no Node that is known here (12 to 26) is that; say which image it \
         runs on with --base IMAGE (base in nanoos.toml)"
    );
    assert!(
        refusal(&[("package.json", "{}"), (".nvmrc", "iojs"), ("server.js", "")]).starts_with(".nvmrc says \"iojs\"")
    );
}

#[test]
fn how_it_is_built() {
    let text = r#"{"name":"shop","version":"1.2.0","scripts":{"build":"tsc","start":"node dist/x.js"},
        "dependencies":{"express":"4"},"devDependencies":{"typescript":"5"}}"#;
    let found = package(text);
    assert_eq!((found.name.as_deref(), found.version.as_deref()), (Some("shop"), Some("1.2.0")));
    assert_eq!(found.env, [("NODE_ENV".to_owned(), "production".to_owned())]);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let build = in_base(&found);
    assert_eq!(build.lock_files, ["package.json", "package-lock.json"]);
    assert_eq!((build.install.join(";").as_str(), build.build.join(";").as_str()), ("npm ci", "npm run build"));
    assert_eq!(build.prune, ["npm prune --omit=dev --ignore-scripts"]);
    assert_eq!(build.dependencies.as_deref(), Some("node_modules"));

    let of = |name, lock| in_base(&plan(&[("package.json", text), (name, lock), (".npmrc", "")])).clone();
    let pnpm = of("pnpm-lock.yaml", "");
    assert_eq!(pnpm.install, ["npm install --global pnpm@latest", "pnpm install --frozen-lockfile"]);
    assert_eq!(pnpm.lock_files, ["package.json", "pnpm-lock.yaml", ".npmrc"]);
    assert_eq!(of("yarn.lock", "# yarn lockfile v1\n").install, ["yarn install --frozen-lockfile"]);
    let berry = of("yarn.lock", "__metadata:\n  version: 8\n");
    assert_eq!(berry.install[1], "YARN_NODE_LINKER=node-modules yarn install --immutable");
    let none = plan(&[("package.json", text)]);
    assert_eq!(in_base(&none).install, ["npm install"]);
    assert_eq!(none.warnings.len(), 1);
    assert!(none.warnings[0].starts_with("package.json names packages, and no lock file their versions"));
}

#[test]
fn without_packages_nothing_is_fetched() {
    assert_eq!(package(r#"{"scripts":{"start":"node a"}}"#).build, Build::None);
    let build = package(r#"{"scripts":{"start":"node a","build":"node b"}}"#);
    assert_eq!((in_base(&build).install.len(), in_base(&build).build.join(";").as_str()), (0, "npm run build"));
}

#[test]
fn scripts_that_run_at_installing_see_all_files_and_the_starting_package_is_kept() {
    let build = package(r#"{"scripts":{"start":"node a","postinstall":"node p"},"dependencies":{"a":"1"}}"#);
    assert_eq!((in_base(&build).install.len(), in_base(&build).build.join(";").as_str()), (0, "npm ci"));
    let build = package(r#"{"scripts":{"start":"vite preview"},"devDependencies":{"vite":"6"}}"#);
    assert!(in_base(&build).prune.is_empty());
}

#[test]
fn several_lock_files_are_refused_unless_package_manager_says_which() {
    let files = |text| [("package.json", text), LOCKED, ("yarn.lock", ""), ("server.js", "")];
    assert_eq!(
        refusal(&files(r#"{"dependencies":{"a":"1"}}"#)),
        "package.json: yarn.lock and package-lock.json are lock files of different package managers: keep one of them"
    );
    let found = plan(&files(r#"{"dependencies":{"a":"1"},"packageManager":"yarn@1.22.22+sha1.abc"}"#));
    assert_eq!(in_base(&found).install, ["yarn install --frozen-lockfile"]);
    let pnpm = r#"{"dependencies":{"a":"1"},"packageManager":"pnpm@9.1.0+sha512.abc"}"#;
    let found = plan(&[("package.json", pnpm), ("pnpm-lock.yaml", ""), ("server.js", "")]);
    assert_eq!(in_base(&found).install[0], "npm install --global pnpm@9.1.0");
    let evil = r#"{"dependencies":{"a":"1"},"packageManager":"pnpm@1; reboot"}"#;
    let found = plan(&[("package.json", evil), ("pnpm-lock.yaml", ""), ("server.js", "")]);
    assert_eq!(in_base(&found).install[0], "npm install --global pnpm@latest");
}

#[test]
fn broken_and_startless_packages_are_refused() {
    assert_eq!(
        refusal(&[("package.json", "{\n  \"name\": \"x\",\n}")]),
        "package.json: this is no JSON: trailing comma at line 3 column 1"
    );
    assert_eq!(refusal(&[("package.json", "[]")]), "package.json: this is no JSON object");
    assert_eq!(
        refusal(&[("package.json", r#"{"scripts":{"build":"vite build"}}"#)]),
        "nothing says how this node project is started: package.json has no scripts.start, the file that its main names is \
         not there, and neither server.js nor index.js is; if it is built into files for a web server, build it and say \
         --kind site; write a Procfile with `web: COMMAND`, or give --cmd"
    );
    let mut files = crate::files::Files::default();
    files.add("package.json");
    let refusal =
        super::detect(&files, &crate::plan::Wishes::default(), None).expect_err("it cannot be read").to_string();
    assert_eq!(refusal, "package.json: it is no text, or longer than 1 MiB");
}
