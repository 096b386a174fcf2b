//! What the user says about the application: the options of `docker run` that stand in place of what the image says.

pub mod dotenv;
pub mod environment;
pub mod words;

use crate::manifest::RunConfig;
use environment::Variable;

/// What replaces the image's own settings; the default replaces nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Application {
    /// Variables, in order: a later one replaces an earlier one.
    pub environment: Vec<Variable>,
    /// In place of ENTRYPOINT. CMD goes with it, as its words are arguments of the image's own entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// In place of CMD.
    pub cmd: Option<Vec<String>>,
    /// In place of USER.
    pub user: Option<String>,
    /// In place of WORKDIR.
    pub workdir: Option<String>,
}

impl Application {
    /// Changes an image's settings as `docker run` would (moby, `daemon/commit.go`, `merge`).
    pub fn apply(&self, config: &mut RunConfig) {
        environment::merge(&mut config.env, &self.environment);
        if let Some(entrypoint) = &self.entrypoint {
            config.entrypoint.clone_from(entrypoint);
            config.cmd.clear();
        }
        if let Some(cmd) = &self.cmd {
            config.cmd.clone_from(cmd);
        }
        if let Some(user) = &self.user {
            config.user.clone_from(user);
        }
        if let Some(workdir) = &self.workdir {
            config.working_dir.clone_from(workdir);
        }
    }
}

/// A user as `docker run --user` takes it: `NAME|UID[:GROUP|GID]`.
///
/// # Errors
/// A sentence for whoever typed it.
pub fn user(text: &str) -> Result<String, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    // passwd(5) and group(5) cannot hold these; a leading hyphen is a forgotten value.
    let is_name = |name: &str| {
        let stray = |character: char| character.is_control() || character.is_whitespace() || ":/,".contains(character);
        !name.is_empty() && !name.starts_with('-') && !name.contains(stray)
    };
    if is_name(user) && group.is_none_or(is_name) {
        Ok(text.to_owned())
    } else {
        Err("it is not NAME or UID, with :GROUP or :GID behind it or not".to_owned())
    }
}

/// A working directory as `docker run --workdir` takes it.
///
/// # Errors
/// A sentence for whoever typed it.
pub fn workdir(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("it is not an absolute path of the image".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn image() -> RunConfig {
        RunConfig { entrypoint: texts(&["/start", "-v"]), cmd: texts(&["serve"]), ..RunConfig::default() }
    }

    fn arguments(application: &Application) -> Vec<String> {
        let mut config = image();
        application.apply(&mut config);
        [config.entrypoint, config.cmd].concat()
    }

    #[test]
    fn another_entrypoint_drops_the_images_command_and_another_command_keeps_the_entrypoint() {
        let entrypoint = Some(texts(&["/bin/sh", "-c"]));
        let cmd = Some(texts(&["true"]));
        assert_eq!(arguments(&Application::default()), ["/start", "-v", "serve"]);
        let only = Application { entrypoint: entrypoint.clone(), ..Application::default() };
        assert_eq!(arguments(&only), ["/bin/sh", "-c"]);
        let only = Application { cmd: cmd.clone(), ..Application::default() };
        assert_eq!(arguments(&only), ["/start", "-v", "true"]);
        assert_eq!(arguments(&Application { entrypoint, cmd, ..Application::default() }), ["/bin/sh", "-c", "true"]);
        // As with docker run --entrypoint '': the image's own is gone, and its command with it.
        assert_eq!(arguments(&Application { entrypoint: Some(vec![]), ..Application::default() }), [""; 0]);
    }

    #[test]
    fn user_and_directory_replace_the_images() {
        let mut config = RunConfig { user: "www".to_owned(), working_dir: "/a".to_owned(), ..image() };
        let application =
            Application { user: Some("0:0".to_owned()), workdir: Some("/b".to_owned()), ..Application::default() };
        application.apply(&mut config);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("0:0", "/b"));
    }

    #[test]
    fn users_and_directories_are_checked() {
        for good in ["www-data", "1000", "1000:1000", "app:adm", "user@domain"] {
            assert_eq!(user(good).as_deref(), Ok(good));
        }
        for bad in ["", ":", "a:", ":a", "a b", "a:b:c", "-x", "a\n"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        assert!(workdir("/srv").is_ok() && workdir("srv").is_err() && workdir("").is_err());
    }
}
