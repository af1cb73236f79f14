//! The value of `--output`: a format, the parts of data that are wanted, or the file that a command writes.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::error::ErrorKind;

use super::output::Format;
use super::pick::Picked;

/// The value of `--output`: the format of data or, for the command that writes a file, its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Data in this format.
    As(Format),
    /// These parts of data.
    Of(Arc<Picked>),
    /// To this file.
    To(PathBuf),
}

/// Reads an [`Output`]: parts that are picked, or a format. Any other value that contains a dot or a slash is a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputParser;

impl TypedValueParser for OutputParser {
    type Value = Output;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Output, clap::Error> {
        let text = value.to_string_lossy();
        if Picked::is_meant(&text) {
            let wrong = |error: String| {
                let message = format!("invalid value for '--output <FORMAT>': {error}\n");
                clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
            };
            return text.parse().map(|picked| Output::Of(Arc::new(picked))).map_err(wrong);
        }
        let format = EnumValueParser::<Format>::new().parse_ref(command, argument, value);
        match text.contains(['.', '/']) {
            true => Ok(format.map_or_else(|_| Output::To(value.into()), Output::As)),
            false => format.map(Output::As),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let formats = Format::value_variants().iter();
        let mut values: Vec<_> = formats.filter_map(ValueEnum::to_possible_value).collect();
        values.extend(Picked::kinds().map(|(begin, help)| PossibleValue::new(begin).help(help)));
        Some(Box::new(values.into_iter()))
    }
}
