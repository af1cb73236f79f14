//! A step that imports more than its world has: an interface of its own, and sockets.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:extra;
        interface secrets { get: func(name: string) -> string; }
        world extra { include replicante:playbook/step@0.1.0; import secrets; }
    ",
    world: "test:extra/extra",
    generate_all,
});

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};

struct Asks;

impl Guest for Asks {
    fn describe() -> Description {
        let text = String::new;
        Description { name: text(), version: text(), summary: text(), arguments: text() }
    }

    fn run(_: StepInput) -> Result<String, StepError> {
        let connected = std::net::TcpStream::connect("127.0.0.1:1").is_ok();
        Ok(format!("{connected} {}", test::extra::secrets::get("password")))
    }
}

export!(Asks);
