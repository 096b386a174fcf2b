//! Whether addons in a `node_modules` fit the base's Node.

use super::{Libc, Misfit, Sides, Target, elf, files, shown};
use crate::elf::{Image, Unreadable};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// NODE_MODULE_VERSION of each major version of Node (its doc/abi_version_registry.json).
const ABIS: &[(u32, u32)] =
    &[(16, 93), (17, 102), (18, 108), (19, 111), (20, 115), (21, 120), (22, 127), (23, 131), (24, 137), (25, 141)];

/// Words in the names of packages and files that say what they are for; a package brings one for each.
const PLATFORMS: &[&str] = &[
    "linux",
    "linuxmusl",
    "linuxglibc",
    "darwin",
    "win32",
    "windows",
    "freebsd",
    "openbsd",
    "netbsd",
    "sunos",
    "android",
    "aix",
    "openharmony",
    "x64",
    "ia32",
    "x86",
    "x86_64",
    "amd64",
    "arm64",
    "aarch64",
    "arm",
    "armv6",
    "armv7",
    "armv8",
    "riscv64",
    "ppc64",
    "s390x",
    "loong64",
    "mips64el",
    "gnu",
    "glibc",
    "musl",
    "gnueabihf",
    "musleabihf",
    "eabi",
    "msvc",
    "universal",
    "napi",
];

/// Bytes of a package.json and of node-gyp's config.gypi.
const LONGEST: u64 = 1 << 20;

/// Whether the addons in this `node_modules` fit. Of those that are there for several platforms one has to.
///
/// # Errors
/// When it cannot be read, or an addon does not fit.
pub fn node(directory: &Path, target: &Target) -> Result<(), Misfit> {
    // For each addon, whatever platform it is for: what is wrong with the first one, if none fits.
    let mut addons: BTreeMap<String, Option<Misfit>> = BTreeMap::new();
    for file in files(directory, &|name| name.ends_with(".node"))? {
        let path = shown(&file, directory);
        let key = any_platform(&path);
        let Some(verdict) = check(&file, &path, key != path, target)? else { continue };
        match verdict {
            Ok(()) => {
                addons.insert(key, None);
            }
            Err((problem, has)) => {
                let base = target.name.clone();
                let advice = advice(target);
                addons.entry(key).or_insert(Some(Misfit::Other { path, problem, base, has, advice }));
            }
        }
    }
    match addons.into_values().flatten().next() {
        Some(misfit) => Err(misfit),
        None => Ok(()),
    }
}

/// What to do about an addon.
fn advice(target: &Target) -> String {
    let libc = match target.libc {
        Libc::Glibc(_) => "glibc",
        Libc::Musl => "musl",
    };
    let cpu = if target.architecture.name() == "x86_64" { "x64" } else { "arm64" };
    format!(
        "install for it (npm ci --os=linux --cpu={cpu} --libc={libc}, with its version of Node), or have docker, \
         podman or buildah on this machine, which install inside the base"
    )
}

/// A path without the words in it that name a platform.
fn any_platform(path: &str) -> String {
    let words = path.split_inclusive(['/', '-', '.', '_', '+', '@']);
    let is_platform = |word: &str| {
        let word = word.trim_end_matches(['-', '.', '_', '+']);
        let numbered = |start: &str| {
            let number = word.strip_prefix(start).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        };
        PLATFORMS.contains(&word) || numbered("abi") || numbered("v")
    };
    // The separator stays where it ends a directory: `a-linux-x64/b.node` is `a/b.node`.
    let mut key = String::new();
    for word in words {
        let (name, end) = word.strip_suffix('/').map_or((word, ""), |name| (name, "/"));
        if !is_platform(name) {
            key.push_str(name);
        }
        if !end.is_empty() {
            key.truncate(key.trim_end_matches(['-', '.', '_', '+']).len());
            key.push('/');
        }
    }
    key
}

/// Whether an addon fits; nothing where it is for other systems only, and nobody asks for it on Linux.
fn check(file: &Path, path: &str, one_of_many: bool, target: &Target) -> Result<Option<Result<(), Sides>>, Misfit> {
    let opened = File::open(file).map_err(|error| Misfit::read(file, error))?;
    let for_target = || format!("is for Linux on {}", target.architecture);
    Ok(match Image::read(opened) {
        Ok(image) => Some(elf(&image, target).and_then(|()| version(file, path, &image, target))),
        Err(Unreadable::Foreign(machine)) => Some(Err((format!("is for {machine}"), for_target()))),
        Err(_) if !one_of_many && !for_linux(file) => None,
        Err(Unreadable::NotElf) => Some(Err(("is not for Linux".to_owned(), for_target()))),
        Err(problem) => Some(Err((format!("is no addon ({problem})"), for_target()))),
    })
}

/// Whether an addon fits the base's version of Node. One of Node-API fits every version.
fn version(file: &Path, path: &str, image: &Image, target: &Target) -> Result<(), Sides> {
    let Some((node, abi)) = target.node.and_then(|node| ABIS.iter().find(|(major, _)| *major == node)) else {
        return Ok(());
    };
    if image.addon.iter().any(|symbol| symbol.starts_with("napi_")) {
        return Ok(());
    }
    let by_symbol = image.addon.iter().find_map(|symbol| symbol.strip_prefix("node_register_module_v")?.parse().ok());
    let Some(built) = by_symbol.or_else(|| by_name(path)).or_else(|| by_configuration(file)) else { return Ok(()) };
    if built == *abi {
        return Ok(());
    }
    let versions = ABIS.iter().find(|(_, number)| *number == built).map(|(major, _)| format!(" (Node {major})"));
    let built = format!("is for NODE_MODULE_VERSION {built}{}", versions.unwrap_or_default());
    Err((built, format!("has Node {node}, which is {abi}")))
}

/// The version that a path names: `prebuilds/linux-x64/node.abi115.node`, `lib/binding/node-v115-linux-x64/`.
fn by_name(path: &str) -> Option<u32> {
    let number = |start: &str| {
        let (_, rest) = path.rsplit_once(start)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    number(".abi").or_else(|| number("/node-v"))
}

/// The version that node-gyp built for: `build/config.gypi` beside `build/Release/x.node`.
fn by_configuration(file: &Path) -> Option<u32> {
    let build = file.parent().filter(|directory| directory.ends_with("Release"))?.parent()?;
    let text = text(&build.join("config.gypi"))?;
    // A comment stands before the JSON.
    let json: serde_json::Value = serde_json::from_str(text.get(text.find('{')?..)?).ok()?;
    let version = json.get("variables")?.get("node_module_version")?;
    version.as_u64().and_then(|number| number.try_into().ok()).or_else(|| version.as_str()?.parse().ok())
}

/// Whether the package that a file is of wants to be installed on Linux.
fn for_linux(file: &Path) -> bool {
    let Some(text) = file.ancestors().skip(1).find_map(|directory| text(&directory.join("package.json"))) else {
        return true;
    };
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else { return true };
    let names = json.get("os").and_then(|os| os.as_array()).into_iter().flatten();
    let names: Vec<&str> = names.filter_map(|name| name.as_str()).collect();
    let only_others = names.iter().any(|name| !name.starts_with('!')) && !names.contains(&"linux");
    !only_others && !names.contains(&"!linux")
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addons_for_several_platforms_have_one_key() {
        for (one, other) in [
            (
                "m/@img/sharp-linux-x64/lib/sharp-linux-x64.node",
                "m/@img/sharp-linuxmusl-arm64/lib/sharp-linuxmusl-arm64.node",
            ),
            (
                "m/@next/swc-linux-x64-gnu/next-swc.linux-x64-gnu.node",
                "m/@next/swc-darwin-arm64/next-swc.darwin-arm64.node",
            ),
            ("m/u/prebuilds/linux-x64/node.napi.node", "m/u/prebuilds/linux-arm64/node.napi.armv8.node"),
            ("m/u/prebuilds/linux-x64/node.abi115.musl.node", "m/u/prebuilds/darwin-x64+arm64/node.abi108.node"),
            ("m/b/lib/binding/node-v115-linux-x64/b.node", "m/b/lib/binding/node-v108-linux-arm64/b.node"),
        ] {
            assert_eq!(any_platform(one), any_platform(other));
        }
        for own in ["m/better-sqlite3/build/Release/better_sqlite3.node", "m/fsevents/fsevents.node", "m/x/node.node"] {
            assert_eq!(any_platform(own), own);
        }
    }

    #[test]
    fn versions_in_paths() {
        assert_eq!(by_name("m/u/prebuilds/linux-x64/node.abi115.node"), Some(115));
        assert_eq!(by_name("m/b/lib/binding/node-v108-linux-x64/b.node"), Some(108));
        assert_eq!(by_name("m/u/build/Release/u.node"), None);
    }
}
