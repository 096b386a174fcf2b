//! The indexes that depmod(8) writes beside the modules: `modules.dep`, `modules.alias`, `modules.softdep`.

use std::collections::{BTreeMap, BTreeSet};

/// `modules.dep`: each module, by path, with the modules that it needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dependencies(BTreeMap<String, Vec<String>>);

impl Dependencies {
    /// Reads lines of the form `PATH: PATH PATH …`.
    ///
    /// # Errors
    /// The first line that is of another form.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let line = |line| {
            let (path, needs): (&str, &str) = str::split_once(line, ':').ok_or(line)?;
            Ok((path.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
        };
        text.lines().filter(|text| !text.is_empty()).map(line).collect::<Result<_, _>>().map(Dependencies)
    }

    /// Every module.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What a module needs.
    pub fn needs(&self, path: &str) -> impl Iterator<Item = &str> {
        self.0.get(path).into_iter().flatten().map(String::as_str)
    }

    /// The same index for some of the modules, with other names for their files.
    #[must_use]
    pub fn of(&self, some: &BTreeSet<String>, name: impl Fn(&str) -> String) -> String {
        let mut text = String::new();
        for path in some {
            text.push_str(&name(path));
            text.push(':');
            for needed in self.needs(path) {
                text.push(' ');
                text.push_str(&name(needed));
            }
            text.push('\n');
        }
        text
    }
}

/// The name that the kernel gives the module in this file: `kernel/drivers/net/virtio-net.ko.xz` is `virtio_net`.
#[must_use]
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// The lines of `modules.alias` (`alias PATTERN MODULE`) that lead to some of the modules.
#[must_use]
pub fn only_modules(aliases: &str, names: &BTreeSet<String>) -> String {
    let leads =
        |line: &&str| line.split_whitespace().nth(2).is_some_and(|name| names.contains(&name.replace('-', "_")));
    lines(aliases.lines().filter(leads))
}

/// The lines of `modules.softdep` (`softdep MODULE pre: … post: …`) of some of the modules.
#[must_use]
pub fn only_soft(soft: &str, names: &BTreeSet<String>) -> String {
    let of = |line: &&str| line.split_whitespace().nth(1).is_some_and(|name| names.contains(&name.replace('-', "_")));
    lines(soft.lines().filter(of))
}

/// What `modules.softdep` says each module would like to have, before or after it.
#[must_use]
pub fn soft_dependencies(soft: &str) -> BTreeMap<String, Vec<String>> {
    let mut wishes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in soft.lines() {
        let mut words = line.split_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else { continue };
        let names = words.filter(|word| !word.ends_with(':')).map(|word| word.replace('-', "_"));
        wishes.entry(module.replace('-', "_")).or_default().extend(names);
    }
    wishes
}

fn lines<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn dependencies_are_read_and_written_for_some_modules() {
        let text = "kernel/a.ko.xz: kernel/b.ko.xz kernel/c.ko.xz\nkernel/b.ko.xz:\nkernel/c.ko.xz: kernel/b.ko.xz\n";
        let dependencies = Dependencies::parse(text).unwrap();
        let some = names(&["kernel/c.ko.xz", "kernel/b.ko.xz"]);
        let plain = |path: &str| -> String {
            dependencies.of(&some, |path| path.strip_suffix(".xz").unwrap().to_owned()) + path
        };
        assert_eq!(plain(""), "kernel/b.ko:\nkernel/c.ko: kernel/b.ko\n");
        assert_eq!(Dependencies::parse("kernel/a.ko\n"), Err("kernel/a.ko"));
    }

    #[test]
    fn aliases_and_soft_dependencies_are_cut_to_the_modules_at_hand() {
        let names = names(&["virtio_net", "nvme"]);
        let aliases = "# comment\nalias virtio:d00000001v* virtio_net\nalias pci:v1* e1000\nalias x nvme\n";
        assert_eq!(only_modules(aliases, &names), "alias virtio:d00000001v* virtio_net\nalias x nvme\n");
        let soft = "# comment\nsoftdep virtio-net pre: a-b post: c\nsoftdep e1000 pre: x\n";
        assert_eq!(only_soft(soft, &names), "softdep virtio-net pre: a-b post: c\n");
        let wished = soft_dependencies(soft);
        assert_eq!(wished["virtio_net"], ["a_b", "c"]);
    }

    #[test]
    fn a_module_is_named_after_its_file() {
        for path in ["kernel/drivers/net/virtio-net.ko.xz", "virtio_net.ko", "a/virtio_net.ko.zst"] {
            assert_eq!(module_name(path), "virtio_net");
        }
    }
}
