//! What templates see: `appliance`, `options`, `overlays`, `ports`, `users`. Names with dashes are written
//! with underscores in templates (`options.max_upload` for the option `max-upload`).

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use minijinja::{Value as Template, context};

use super::{Overlay, Plan, Value};

/// The one way to render: an undefined name is an error, nothing is escaped, line ends stay.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let whitespace = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the default delimiters are distinct");
    environment.set_syntax(whitespace);
    // For options that do not go together.
    let fail = |why: String| {
        Err::<Template, _>(Error::new(ErrorKind::InvalidOperation, why).with_source(Refused))
    };
    environment.add_function("fail", fail);
    environment
}

/// Marks what the template's function `fail` says.
#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refused;

/// Whether the template itself refused, by `fail`.
pub fn refused(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Refused>())
}

/// What the files and strings of `overlay` may use. Of a plan still being read, what is not known yet is empty.
pub fn template_context(plan: &Plan, overlay: &Overlay) -> Template {
    let overlays: BTreeMap<_, _> = plan
        .overlays
        .iter()
        .map(|overlay| (name(&overlay.name), context! { options => options(&overlay.options) }))
        .collect();
    let mut ports: Vec<_> = plan.overlays.iter().flat_map(|overlay| &overlay.ports).collect();
    ports.retain(|port| port.open);
    ports.sort_by_key(|port| (port.number, port.protocol));
    let ports: Vec<_> = ports
        .into_iter()
        .map(|port| {
            let protocol = port.protocol.name();
            context! {
                number => port.number,
                to => port.to,
                range => port.range(),
                protocol => protocol,
                purpose => &port.purpose,
            }
        })
        .collect();
    let users: BTreeMap<_, _> = plan
        .overlays
        .iter()
        .flat_map(|overlay| &overlay.users)
        .map(|user| {
            (name(&user.name), context! { name => &user.name, id => user.id, home => &user.home })
        })
        .collect();
    let target = &plan.target;
    let firmware: Vec<_> = target.firmware.iter().map(|firmware| firmware.name()).collect();
    context! {
        appliance => context! {
            name => &plan.name,
            domain => &plan.domain,
            target => context! {
                cores => target.cores,
                memory => target.memory,
                swap => target.swap_size,
                firmware => firmware,
            },
            admin => context! {
                name => &plan.admin.name,
                authorized_keys => &plan.admin.authorized_keys,
            },
        },
        options => options(&overlay.options),
        overlays => overlays,
        ports => ports,
        users => users,
    }
}

fn options(options: &BTreeMap<String, Value>) -> BTreeMap<String, Template> {
    options.iter().map(|(key, value)| (name(key), serialized(value))).collect()
}

fn name(text: &str) -> String {
    text.replace('-', "_")
}

fn serialized(value: &Value) -> Template {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::String(text) => text.as_str().into(),
        Value::List(items) => items.clone().into(),
    }
}
