//! USER, as an image writes it: a name or uid, and after a colon a group or gid (passwd(5), group(5)).

use std::str::FromStr;

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory, for the environment.
    pub home: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Credentials {
    /// Resolves a USER by the image's own /etc/passwd and /etc/group, as Docker does: a number needs no entry in them, a
    /// name does; supplementary groups are those that list the user, unless the image names a group. The primary group
    /// is among them, so that no file is closed to it by name and open to all others (CVE-2022-2989).
    ///
    /// # Errors
    /// A sentence that says which part has no entry.
    pub fn resolve(spec: &str, passwd: &[u8], group: &[u8]) -> Result<Self, String> {
        let (passwd, group) = (String::from_utf8_lossy(passwd), String::from_utf8_lossy(group));
        let (user_spec, group_spec) = spec.split_once(':').map_or((spec, None), |(user, group)| (user, Some(group)));
        let user_spec = if user_spec.is_empty() { "0" } else { user_spec };

        let user = users(&passwd).find(|user| matches(user_spec, user.name, user.uid));
        let uid = match (&user, user_spec.parse()) {
            (Some(user), _) => user.uid,
            (None, Ok(uid)) => uid,
            (None, Err(_)) => return Err(format!("/etc/passwd of the image has no user {user_spec:?}")),
        };
        let (gid, groups) = match group_spec.filter(|group| !group.is_empty()) {
            Some(wanted) => {
                let found = groups(&group).find(|group| matches(wanted, group.name, group.gid)).map(|group| group.gid);
                let gid = found.or_else(|| wanted.parse().ok());
                let gid = gid.ok_or_else(|| format!("/etc/group of the image has no group {wanted:?}"))?;
                (gid, vec![gid])
            }
            None => {
                let gid = user.as_ref().map_or(0, |user| user.gid);
                let name = user.as_ref().map_or("", |user| user.name);
                let lists_user = |group: &Group<'_>| !name.is_empty() && group.members.split(',').any(|it| it == name);
                let others = groups(&group).filter(lists_user).map(|group| group.gid).filter(|other| *other != gid);
                (gid, std::iter::once(gid).chain(others).collect())
            }
        };
        let home = user.map(|user| user.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
        Ok(Credentials { uid, gid, groups, home })
    }
}

/// Whether a USER has a name, which only passwd or group can tell the number of.
#[must_use]
pub fn has_names(spec: &str) -> bool {
    spec.split(':').any(|part| !part.is_empty() && part.parse::<u32>().is_err())
}

/// What looks like a number is one, and never a name (moby, `user.GetExecUser`).
fn matches(spec: &str, name: &str, id: u32) -> bool {
    u32::from_str(spec).map_or(spec == name, |number| number == id)
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).unwrap_or("");
        Some(User { name, uid, gid, home })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some(Group { name, gid: fields.next()?.parse().ok()?, members: fields.next().unwrap_or("") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/bash\nnginx:x:101:102::/nonexistent:/bin/false\nbroken\n1000:x:7:8::/seven:\n";
    const GROUP: &[u8] = b"root:x:0:\nnginx:x:102:\nssl:x:104:other,nginx\ntls:x:105:nginx2\n";

    fn resolved(spec: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        Credentials::resolve(spec, PASSWD, GROUP).map(|it| (it.uid, it.gid, it.groups, it.home))
    }

    #[test]
    fn every_form_that_docker_takes() {
        let ok = |uid, gid, groups: &[u32], home: &str| Ok((uid, gid, groups.to_vec(), home.to_owned()));
        assert_eq!(resolved(""), ok(0, 0, &[0], "/root"));
        assert_eq!(resolved("nginx"), ok(101, 102, &[102, 104], "/nonexistent"));
        assert_eq!(resolved("101"), ok(101, 102, &[102, 104], "/nonexistent"));
        assert_eq!(resolved("nginx:ssl"), ok(101, 104, &[104], "/nonexistent"));
        assert_eq!(resolved("nginx:33"), ok(101, 33, &[33], "/nonexistent"));
        assert_eq!(resolved("4711"), ok(4711, 0, &[0], "/"));
        assert_eq!(resolved("4711:4712"), ok(4711, 4712, &[4712], "/"));
        // A user by the name of 1000 is not meant.
        assert_eq!(resolved("1000"), ok(1000, 0, &[0], "/"));
        assert_eq!(resolved("7"), ok(7, 8, &[8], "/seven"));
        assert_eq!(resolved(":ssl"), ok(0, 104, &[104], "/root"));
    }

    #[test]
    fn numbers_and_nothing_need_no_database() {
        assert!(has_names("nginx") && has_names("0:wheel") && has_names("nginx:0"));
        assert!(!has_names("") && !has_names("0") && !has_names("1:2") && !has_names(":2"));
    }

    #[test]
    fn names_without_an_entry_are_named() {
        assert_eq!(resolved("nobody"), Err("/etc/passwd of the image has no user \"nobody\"".to_owned()));
        assert_eq!(resolved("nginx:wheel"), Err("/etc/group of the image has no group \"wheel\"".to_owned()));
        assert_eq!(resolved("-1"), Err("/etc/passwd of the image has no user \"-1\"".to_owned()));
    }

    proptest! {
        #[test]
        fn no_database_makes_it_panic(spec in ".*", passwd: Vec<u8>, group: Vec<u8>) {
            let _ = Credentials::resolve(&spec, &passwd, &group);
        }
    }
}
