//! Puts the WIT package into macros, so that the crate of a plugin needs no copy of it.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

const WIT: &str = "../../wit";
const HELD: &str = "../../wit/0.2.0/held.wit";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={WIT}");
    let mut files: Vec<_> =
        fs::read_dir(WIT)?.map(|entry| entry.map(|it| it.path())).collect::<Result<_, _>>()?;
    files.sort();
    // The text becomes one file, which may name its package only once.
    let mut wit = String::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "wit")) {
        let text = fs::read_to_string(file)?;
        let (package, rest) = text.split_once('\n').ok_or("found an empty file in wit/")?;
        if wit.is_empty() {
            writeln!(wit, "{package}")?;
        }
        wit.push_str(rest);
    }
    // What came later is a package of its own, since the first version stays as it is.
    let held = fs::read_to_string(HELD)?;
    let mut macros = String::new();
    for (name, wit, world) in
        [("step", &wit, "step"), ("strategy", &wit, "strategy"), ("held", &held, "strategy")]
    {
        write!(
            macros,
            "#[doc(hidden)]\n#[macro_export]\nmacro_rules! __{name}_bindings {{\n    () => {{\n        \
             $crate::wit_bindgen::generate!({{\n            inline: {wit:?},\n            world: \"{world}\",\n            \
             runtime_path: \"::replibook_plugin_sdk::wit_bindgen::rt\",\n        }});\n    }};\n}}\n"
        )?;
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("bindings.rs"), macros)?;
    Ok(())
}
