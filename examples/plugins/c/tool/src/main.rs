//! Makes bindings for C from WIT, and components from the modules that the linker made. The usual tools for
//! both come in source, and this takes a fraction of the time to build.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_component::ComponentEncoder;

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["bindings", wit, world, folder] => bindings(Path::new(wit), world, Path::new(folder)),
        ["component", module, component] => encode(Path::new(module), Path::new(component)),
        other => bail!(
            "found the arguments {other:?}, expected `bindings WIT WORLD FOLDER` or `component MODULE COMPONENT`"
        ),
    }
}

fn bindings(wit: &Path, world: &str, folder: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    fs::create_dir_all(folder)?;
    for (name, content) in files.iter() {
        write(&folder.join(name), content)?;
    }
    Ok(())
}

fn encode(module: &Path, component: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("failed to read {}", module.display()))?;
    let encoded = ComponentEncoder::default().validate(true).module(&bytes)?.encode()?;
    write(component, &encoded)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}
