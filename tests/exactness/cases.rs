//! Layers by hand, a corner each. What Docker and the builder make of them is the same, but for what is told here.

use crate::image::{archive, layer};
use crate::snapshot::{Tree, What};
use crate::{compare, docker, machine, tag};
use anyhow::{Context, Result, ensure};

/// A name, which is the directory that it lies in, and its layers.
type Case = (&'static str, &'static [&'static [&'static str]]);

/// Corners of which Docker and the builder make the same. All of them are one image.
const SAME: &[Case] = &[
    ("whiteout-file", &[&["f a", "f b"], &["f .wh.a"]]),
    ("whiteout-directory", &[&["d a mode=755", "f a/x", "d a/b mode=755", "f a/b/y"], &["f .wh.a"]]),
    ("whiteout-and-again-in-a-third", &[&["d a mode=755", "f a/old"], &["f .wh.a"], &["d a mode=700", "f a/new"]]),
    ("whiteout-of-nothing", &[&["f a"], &["f .wh.b"]]),
    ("whiteout-that-is-a-directory", &[&["f a"], &["d .wh.a"]]),
    ("opaque-first", &[&["d a", "f a/old", "d a/b", "f a/b/o"], &["d a mode=711", "f a/.wh..wh..opq", "f a/new"]]),
    ("opaque-last", &[&["d a", "f a/old"], &["d a mode=711", "f a/new", "f a/.wh..wh..opq"]]),
    ("opaque-before-its-directory", &[&["d a", "f a/old"], &["f a/.wh..wh..opq", "d a mode=711", "f a/new"]]),
    ("opaque-over-files-again", &[&["d a", "f a/x"], &["d a", "f a/.wh..wh..opq", "f a/x content=2"]]),
    ("file-over-directory-and-back", &[&["d a", "f a/x"], &["f a"], &["d a mode=755", "f a/y"]]),
    ("file-over-directory", &[&["d a", "f a/x"], &["f a"]]),
    ("symlink-over-directory", &[&["d a", "f a/x", "d b"], &["l a target=b"]]),
    ("directory-over-symlink", &[&["d b", "f b/x", "l a target=b"], &["d a", "f a/y"]]),
    ("directory-over-directory", &[&["d a mode=700 uid=5", "f a/x"], &["d a mode=1777 gid=6 mtime=9"]]),
    ("file-over-file", &[&["f a mode=600 uid=5 x.security.one=1"], &["f a mode=4711 content=other"]]),
    ("hard-links", &[&["f a", "h b target=a", "h c target=b mode=755 uid=7 mtime=5"]]),
    (
        "hard-links-in-directories",
        &[&["d d", "d e", "f e/a", "h d/b target=e/a", "h c target=d/b", "d d/f", "h d/f/g target=c"]],
    ),
    ("hard-link-written-anew", &[&["f a", "h b target=a", "h c target=a"], &["f b content=new"]]),
    ("hard-link-whited-out", &[&["f a", "h b target=a", "h c target=a"], &["f .wh.a"]]),
    ("hard-link-to-a-symlink", &[&["l a target=x", "h b target=a"]]),
    ("hard-link-to-a-fifo", &[&["p a", "h b target=a"]]),
    ("hard-link-with-dots", &[&["d d", "f d/a", "h b target=./d/../d//a"]]),
    ("dots", &[&["f ./x", "f .//y/.", "d z/.", "d q", "f q/../r", "f q/./s"]]),
    ("symlink-of-the-same-layer", &[&["d real", "l s target=real", "f s/x"]]),
    ("symlink-up", &[&["d real", "d d", "l d/s target=../real", "f d/s/x"]]),
    ("lower-symlink-on-the-way", &[&["d usr", "f usr/a", "l lib target=usr"], &["f lib/x"]]),
    ("lower-symlink-and-whiteout", &[&["d usr", "f usr/a", "l lib target=usr"], &["f lib/.wh.a"]]),
    ("lower-symlink-that-leaves", &[&["l out target=../../../../tmp", "l abs target=/etc"], &["f out/x", "f abs/x"]]),
    ("lower-file-on-the-way", &[&["f a"], &["f a/x"]]),
    ("implied", &[&["f a/b/x"]]),
    ("implied-over-directory", &[&["d t mode=1777 uid=9", "f t/old"], &["f t/new"]]),
    ("implied-by-a-whiteout", &[&["f a"], &["f n/.wh.y"]]),
    ("implied-then-told", &[&["f a/x", "d a mode=711"]]),
    ("not-utf-8", &[&["f a%ff%fe%0a", "d %c3%28", "f %c3%28/x", "l l target=%ff"]]),
    (
        "long-names",
        &[&[
            "d d",
            "f d/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
        ]],
    ),
    ("modes", &[&["f u mode=4755", "f g mode=2755", "d t mode=1777", "d s mode=7777", "f none mode=0", "d d mode=0"]]),
    (
        "devices",
        &[&["c c device=1,3 mode=666", "b b device=259,70000 mode=660", "p p mode=600", "c d device=4095,1048575"]],
    ),
    (
        "owners",
        &[&[
            "f a uid=65535 gid=65536",
            "f b uid=70000",
            "f c uid=2097152 gid=3000000",
            "f d uid=4294967294",
            "f e uid=4294967295 gid=4294967295",
        ]],
    ),
    (
        "times",
        &[&[
            "f a mtime=-5",
            "f b mtime=1.999999999",
            "f c mtime=4294967295",
            "f d mtime=5000000000",
            "d e mtime=-7.5",
            "l l target=a mtime=-3",
            "d f mtime=0",
            "f f/x",
        ]],
    ),
    (
        "attributes",
        &[&[
            "f a x.user.k=v x.security.x=y%0a%00=z x.trusted.t=%ff",
            "d d x.user.k=v",
            "f b x.security.capability=%01%00%00%02%00%20%00%00%00%00%00%00%00%00%00%00%00%00%00%00",
        ]],
    ),
    ("attributes-gone", &[&["f a x.user.k=v", "d d x.user.k=v"], &["f a", "d d"]]),
    ("empty", &[&["d a", "d b mode=711", "f c content="]]),
    ("aufs", &[&["f a", "d .wh..wh.plnk", "f .wh..wh.plnk/1.2", "f .wh..wh.aufs"]]),
    ("nearly-a-whiteout", &[&["f wh.a", "f a.wh.b", "f .wha", "d .w", "f .w/.whh"]]),
];

/// Corners of which Docker's storage drivers make different things, or nothing: what the builder makes of them, what
/// the driver here does (fuse-overlayfs), and why that is not followed.
const DIFFERENT: &[(Case, &[&str], &str)] = &[
    (
        ("whiteout-then-directory", &[&["d a mode=755", "f a/old"], &["f .wh.a", "d a mode=755", "f a/new"]]),
        &["a", "a/new"],
        "a whiteout is of lower layers only (OCI, layer.md): fuse-overlayfs hides the new directory as well, and overlay2 \
         shows the old content in it",
    ),
    (
        ("directory-then-whiteout", &[&["d a mode=755", "f a/old"], &["d a mode=755", "f a/new", "f .wh.a"]]),
        &["a", "a/new"],
        "the same; overlay2 can't unpack it",
    ),
    (("whiteout-then-file", &[&["f a"], &["f .wh.a", "f a content=new"]]), &["a"], "the same; overlay2 shows the file"),
    (
        ("late", &[&["f a mtime=9300000000"]]),
        &["a"],
        "beyond 2^63 nanoseconds Docker sets 1970, the builder the latest time of a squashfs",
    ),
];

/// Corners that Docker refuses, in its words; and what the builder makes of them.
const DOCKER_REFUSES: &[(Case, &str, &[&str])] = &[
    (("link-across-layers", &[&["f a"], &["h b target=a"]]), "no such file or directory", &["a", "b"]),
    (("duplicate", &[&["f a", "f a content=2", "d d", "f d/x", "f d"]]), "duplicates of file paths", &["a", "d"]),
    (("link-into-lower", &[&["d usr"], &["l k target=usr", "f k/x"]]), "no such file", &["k", "usr", "usr/x"]),
];

/// Corners that the builder refuses, in its words. Docker refuses those with words, too.
const REFUSED: &[(Case, &str, Option<&str>)] = &[
    (("up", &[&["f ../../x"]]), "entry up/../../x: its \"..\" lead out of the root", None),
    (("up-later", &[&["d a", "f a/../../../x"]]), "entry up-later/a/../../../x: its \"..\" lead out of the root", None),
    (
        ("link-up", &[&["f a", "h b target=../../a"]]),
        "entry link-up/b: its \"..\" lead out of the root",
        Some("no such file"),
    ),
    (
        ("through", &[&["l out target=../../tmp", "f out/x"]]),
        "entry through/out/x: the symbolic link out on its way leads out of the root",
        Some("no such file or directory"),
    ),
    (
        ("through-absolute", &[&["l out target=/nowhere", "f out/x"]]),
        "entry through-absolute/out/x: the symbolic link out on its way leads to nothing",
        Some("no such file or directory"),
    ),
    (
        ("through-file", &[&["f a", "f a/x"]]),
        "entry through-file/a/x: a on its way is not a directory",
        Some("not a directory"),
    ),
    (
        ("link-to-nothing", &[&["f a"], &["f .wh.a", "h b target=a"]]),
        "entry link-to-nothing/b: the hard link's target link-to-nothing/a does not exist",
        Some("no such file or directory"),
    ),
    (
        ("link-to-directory", &[&["d a", "h b target=a"]]),
        "entry link-to-directory/b: the hard link's target link-to-directory/a is a directory",
        Some("operation not permitted"),
    ),
    (("whiteout-of-no-name", &[&["f .wh."]]), "entry whiteout-of-no-name/.wh.: a whiteout without a name", None),
];

/// The layers of several cases, each in its directory, which every layer tells.
fn layers(cases: &[Case]) -> Result<Vec<Vec<u8>>> {
    let count = cases.iter().map(|(_, layers)| layers.len()).max().unwrap_or(0);
    let mut tars = vec![Vec::new(); count];
    for (number, tar) in tars.iter_mut().enumerate() {
        for (name, layers) in cases {
            if let Some(entries) = layers.get(number) {
                tar.extend(layer("", &[&format!("d {name} mode=755")])?);
                tar.truncate(tar.len() - 1024); // its end, for more to come
                tar.extend(layer(&format!("{name}/"), entries)?);
                tar.truncate(tar.len() - 1024);
            }
        }
    }
    Ok(tars)
}

/// The names in a case's directory.
fn names(tree: &Tree, case: &str) -> Vec<String> {
    let names = tree.keys().filter_map(|name| name.strip_prefix(case.as_bytes())?.strip_prefix(b"/"));
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

#[test]
fn corners_are_the_same() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    compare("corners", &archive(scratch.path(), &tag("corners"), &layers(SAME)?)?)
}

#[test]
fn corners_of_the_root_are_the_same() -> Result<()> {
    for (name, layers) in [
        ("absolute", &[&["f /abs", "d ./ mode=700 uid=5", "d /d/", "f //d/x", "h /l target=/abs"][..]][..]),
        ("opaque-root", &[&["d a", "f b"], &["f .wh..wh..opq", "f c"]]),
        ("absolute-symlink", &[&["d real", "l s target=/real", "f s/x"]]),
        ("own-dev", &[&["d dev mode=711", "d dev/pts mode=700", "d proc mode=500", "d etc mode=711", "f etc/hosts"]]),
    ] {
        let scratch = tempfile::tempdir()?;
        let layers: Vec<Vec<u8>> = layers.iter().map(|entries| layer("", entries)).collect::<Result<_>>()?;
        compare(name, &archive(scratch.path(), &tag(name), &layers)?).context(name)?;
    }
    Ok(())
}

#[test]
fn endings_of_archives_are_the_same() -> Result<()> {
    let first = layer("", &["f a"])?;
    let whole = &first[..first.len() - 1024];
    let second = layer("", &["f b content=x"])?;
    let layers = [
        &[whole, &[0; 512]].concat(),
        &layer("", &["f c"])?[..513].to_vec(), // no padding, no end
        &[&second[..], b"garbage"].concat(),
        &[&layer("", &["f d"])?[..], &layer("", &["f not-this"])?].concat(),
        &Vec::new(),
        &vec![0; 1024],
    ];
    let layers: Vec<Vec<u8>> = layers.into_iter().cloned().collect();
    let scratch = tempfile::tempdir()?;
    compare("endings", &archive(scratch.path(), &tag("endings"), &layers)?)
}

#[test]
fn where_dockers_drivers_differ_the_specification_holds() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let cases: Vec<Case> = DIFFERENT.iter().map(|(case, ..)| *case).collect();
    let archive = archive(scratch.path(), &tag("different"), &layers(&cases)?)?;
    let (machine, docker) = (machine::root(&archive)?, docker::export(&archive, &tag("different"))?);
    for ((name, _), expected, why) in DIFFERENT {
        ensure!(names(&machine, name) == *expected, "{name}: {:?}", names(&machine, name));
        let of = |tree: &Tree| {
            tree.iter()
                .filter(|(path, _)| path.starts_with(format!("{name}/").as_bytes()))
                .map(|(path, node)| (path.clone(), node.clone()))
                .collect::<Tree>()
        };
        ensure!(of(&machine) != of(&docker), "{name} is no difference any more ({why})");
    }
    let new = &machine[&b"whiteout-then-file/a"[..]];
    ensure!(matches!(new.what, What::File { size: 3, .. }), "{new:?}");
    Ok(())
}

#[test]
fn what_docker_refuses_and_the_builder_takes() -> Result<()> {
    for (case, words, expected) in DOCKER_REFUSES {
        let scratch = tempfile::tempdir()?;
        let archive = archive(scratch.path(), &tag(case.0), &layers(&[*case])?)?;
        refused(case.0, "docker", docker::export(&archive, &tag(case.0)), words)?;
        let machine = machine::root(&archive).context(case.0)?;
        ensure!(names(&machine, case.0) == *expected, "{}: {:?}", case.0, names(&machine, case.0));
    }
    Ok(())
}

#[test]
fn what_leaves_the_root_or_leads_nowhere_is_refused() -> Result<()> {
    for (case, words, of_docker) in REFUSED {
        let scratch = tempfile::tempdir()?;
        let archive = archive(scratch.path(), &tag(case.0), &layers(&[*case])?)?;
        let layer = case.1.len() - 1;
        refused(case.0, "builder", machine::root(&archive), &format!("layer {layer}/layer.tar, {words}"))?;
        if let Some(words) = of_docker {
            refused(case.0, "docker", docker::export(&archive, &tag(case.0)), words)?;
        }
    }
    Ok(())
}

fn refused(case: &str, who: &str, result: Result<Tree>, words: &str) -> Result<()> {
    let error = match result {
        Ok(tree) => anyhow::bail!("{case}: {who} takes it: {:?}", names(&tree, case)),
        Err(error) => format!("{error:#}"),
    };
    ensure!(error.contains(words), "{case}: {who} says {error}");
    Ok(())
}
