//! Command lines, which a person typed or which were made from texts of others: a pattern of the shell inserts
//! names of files, and a script whatever it was given. None of these texts may reach a terminal unchanged.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, Parser};

use super::exit::Exit;
use super::output::{is_coloured, width_of};
use super::text::{clean, uncoloured, wrap_lines};
use crate::shown::{clean_lines, is_unseen};

/// Prefix of the environment variables that arguments may come from.
const VARIABLES: &str = "REPLIBOOK_";

/// Characters that an argument must have to be replaced where it is repeated.
const LEAST_REPLACED: usize = 3;

/// Reads arguments, the first of which is the program's own name. Prints what is wrong with them, or the help
/// that was asked for; the error then is the exit code.
///
/// # Errors
/// The exit code of the process.
pub fn parse<P: Parser>(args: &[OsString]) -> Result<P, ExitCode> {
    let error = match P::try_parse_from(args) {
        Ok(parsed) => return Ok(parsed),
        Err(error) => as_typed::<P>(args, error),
    };
    let code = u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code());
    let odd = Odd::of(args);
    // If this can't be written, nobody is left to tell.
    let _ = match odd.0.is_empty() {
        true if error.use_stderr() => say(&error),
        true => error.print(),
        false => {
            // Parsed again, with visible characters only in the arguments; the variables of the environment
            // stay unchanged.
            let args = args.iter().map(|arg| clean(&arg.to_string_lossy()));
            let args: Vec<OsString> = args.map(OsString::from).collect();
            let again = P::try_parse_from(&args).err().map(|error| as_typed::<P>(&args, error));
            let error = again.unwrap_or(error);
            // Clap removes colours, and would also remove parts of an argument that look like one.
            let text = odd.shown(&error.render().ansi().to_string());
            let room = width_of(std::io::stderr()).filter(|_| error.use_stderr());
            let text = room.map(|room| wrap_lines(&text, room)).unwrap_or(text);
            match error.use_stderr() {
                true => std::io::stderr().write_all(text.as_bytes()),
                false => std::io::stdout().write_all(text.as_bytes()),
            }
        }
    };
    Err(ExitCode::from(code))
}

/// The error as it would be if nothing came from the environment: otherwise the usage in it would show
/// arguments from there as if they had to be typed.
fn as_typed<P: CommandFactory>(args: &[OsString], error: clap::Error) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::MissingRequiredArgument | ErrorKind::UnknownArgument) {
        return error;
    }
    let typed = without_environment(P::command()).try_get_matches_from(args).err();
    typed.filter(|typed| typed.kind() == error.kind()).unwrap_or(error)
}

fn without_environment(command: Command) -> Command {
    command.mut_args(|arg| arg.env(None::<&str>)).mut_subcommands(without_environment)
}

/// Prints why a program failed, wrapped to the terminal.
pub fn say_failed(error: &str) {
    let text = format!("{error}\n");
    let text = width_of(std::io::stderr()).map(|width| wrap_lines(&text, width)).unwrap_or(text);
    // If standard error is closed, the exit code still says that the program failed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Prints why arguments can't be read, wrapped to the terminal. Clap wraps the help itself.
fn say(error: &clap::Error) -> std::io::Result<()> {
    let stderr = std::io::stderr();
    let colour = is_coloured() && stderr.is_terminal();
    let rendered = error.render();
    let text = if colour { rendered.ansi().to_string() } else { rendered.to_string() };
    let text = width_of(std::io::stderr()).map(|width| wrap_lines(&text, width)).unwrap_or(text);
    stderr.lock().write_all(text.as_bytes())
}

/// The arguments and variables that contain invisible characters.
#[derive(Clone, Debug, Default)]
pub struct Odd(Vec<String>);

impl Odd {
    /// Those among `args`, and in the environment of this process.
    pub fn of(args: &[OsString]) -> Self {
        let variables = std::env::vars_os()
            .filter(|(name, _)| name.to_string_lossy().starts_with(VARIABLES))
            .map(|(_, value)| value);
        let all = args.iter().cloned().chain(variables);
        Self::among(all.map(|text| text.to_string_lossy().into_owned()))
    }

    fn among(texts: impl Iterator<Item = String>) -> Self {
        // Of `--option=value` only the value may be shown, and of a `KEY=VALUE` in it only its value.
        let parts = |text: String| {
            let values = text.match_indices('=').take(2).map(|(at, _)| text[at + 1..].to_owned());
            let values: Vec<String> = values.collect();
            std::iter::once(text).chain(values)
        };
        // A shorter text can't forge anything, and may occur anywhere else by chance.
        let is_odd = |text: &String| {
            text.chars().any(is_unseen) && text.trim().chars().count() >= LEAST_REPLACED
        };
        let mut odd: Vec<String> = texts.flat_map(parts).filter(is_odd).collect();
        // Longer ones come first, since a shorter one may be a part of them.
        odd.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(odd)
    }

    /// Lines for a terminal, without colours. An argument that is repeated in them stays within one line,
    /// whatever it contains.
    pub fn shown(&self, lines: &str) -> String {
        let end = if lines.ends_with('\n') { "\n" } else { "" };
        clean_lines(&uncoloured(&self.replaced(lines))) + end
    }

    fn replaced(&self, lines: &str) -> String {
        let replace = |text: String, odd: &String| text.replace(odd.as_str(), &clean(odd));
        self.0.iter().fold(lines.to_owned(), replace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_is_repeated_stays_in_its_line() {
        let typed = ["serve", "--data=a\nerror: forged", "zone=x\u{1b}[2J", "\n"];
        let odd = Odd::among(typed.into_iter().map(str::to_owned));
        let text = "failed to open a\nerror: forged: no\nfound \"x\u{1b}[2J\"\n";
        let shown = odd.shown(text);
        assert!(shown.starts_with("failed to open a error: forged: no"), "{shown:?}");
        assert!(!shown.contains('\u{1b}') && shown.ends_with('\n'), "{shown:?}");
        let none = Odd::among(["plain".to_owned()].into_iter());
        assert_eq!(none.shown("a\nb"), "a\nb");
    }
}
