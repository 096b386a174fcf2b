//! `.env` of a project that is booted here: the machine's user data, so that its disk is the one of every other environment.

use anyhow::{Context, Result, ensure};
use builder::application::dotenv;
use builder::progress::Progress;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Bytes of user data at most, as init reads them and EC2 takes them.
const MOST: usize = 16 << 10;

/// User data that lie in memory only, as they hold secrets.
pub(crate) struct Configuration(File);

impl Configuration {
    /// The variables in a project's `.env`; `None` where there are none.
    ///
    /// # Errors
    /// When the file can't be read, or is more than a machine takes.
    pub(crate) fn of(project: &Path, progress: &Progress) -> Result<Option<Self>> {
        let path = project.join(dotenv::FILE);
        let (variables, warnings) = dotenv::read(&path)?;
        warnings.iter().for_each(|warning| progress.warn(warning));
        if variables.is_empty() {
            return Ok(None);
        }
        let json = serde_json::json!({ "env": variables }).to_string();
        let shown = path.display();
        ensure!(json.len() <= MOST, "{shown}: it has more than the 16 KB that a machine takes as its user data");
        let memory = memfd_create("user-data", MemfdFlags::CLOEXEC).with_context(|| format!("hand {shown} on"))?;
        let mut file = File::from(memory);
        file.write_all(json.as_bytes()).with_context(|| format!("hand {shown} on"))?;
        let names: Vec<&str> = variables.keys().map(String::as_str).collect();
        progress.step(format!("the machine gets {} from {shown}; its disk does not", names.join(", ")));
        Ok(Some(Configuration(file)))
    }

    /// Where other programs of this user read it, as long as it lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_are_user_data_that_another_program_can_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Configuration::of(dir.path(), &Progress::silent()).unwrap().is_none());
        std::fs::write(dir.path().join(".env"), "# mine\nA='1 2'\nB=\"x\\ny\"\n").unwrap();
        let configuration = Configuration::of(dir.path(), &Progress::silent()).unwrap().unwrap();
        let output = std::process::Command::new("cat").arg(configuration.path()).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), r#"{"env":{"A":"1 2","B":"x\ny"}}"#);
        std::fs::write(dir.path().join(".env"), format!("A={}\n", "x".repeat(MOST))).unwrap();
        let refused = Configuration::of(dir.path(), &Progress::silent()).err().unwrap().to_string();
        assert!(
            refused.ends_with(".env: it has more than the 16 KB that a machine takes as its user data"),
            "{refused}"
        );
    }
}
