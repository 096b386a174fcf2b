//! `builder completions` and `builder man`: what packagers install beside the program.

use super::report::print;
use crate::cli::Cli;
use crate::cli::sections::SECTIONS;
use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use std::io::{self, Write};

/// Writes completions.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "builder", &mut script);
    print(&script)
}

/// Writes the manual page, with the subcommands' options in it.
pub(crate) fn man_page() -> Result<()> {
    let mut page = Vec::new();
    render(&mut page).context("write the manual page")?;
    print(&page)
}

fn render(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = Man::new(command.clone()).manual("NanoOS");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        writeln!(page, ".SH \"BUILDER {}\"", subcommand.get_name().to_uppercase())?;
        let about = subcommand.get_long_about().or(subcommand.get_about());
        writeln!(page, "{}", escaped(&about.map(ToString::to_string).unwrap_or_default()))?;
        let mut options = Vec::new();
        Man::new(subcommand.clone()).render_options_section(&mut options)?;
        // A section of the whole page there, a part of this one here.
        page.extend(String::from_utf8_lossy(&options).replace(".SH ", ".SS ").into_bytes());
    }
    for (heading, content) in SECTIONS {
        writeln!(page, ".SH \"{}\"\n.nf\n{}\n.fi", heading.to_uppercase(), escaped(content))?;
    }
    Ok(())
}

/// A text as roff(7) has it: backslashes doubled, hyphens that can be copied, and no line taken for a request.
fn escaped(text: &str) -> String {
    let escape = |line: &str| {
        // man indents sections itself.
        let line = line.strip_prefix("  ").unwrap_or(line).replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    };
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_text_is_a_request() {
        assert_eq!(escaped(".SH a\\b\n  --x"), "\\&.SH a\\eb\n\\-\\-x");
    }
}
