//! Merging the sources, and finding everything that is wrong with them in one go.
//!
//! Deserialisation stops at its first fault. So a faulty value is noted, taken out of its source,
//! and deserialisation tried again, until the rest holds.

use figment::Provider;
use figment::error::{Error, Kind};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ConfigError, Fault, Faults, HIDDEN, PREFIX, Sources, Validate};

/// More faults than this are not looked for.
const FAULTS_MAX: usize = 64;

/// One source's values.
struct Layer {
    name: String,
    values: Dict,
    /// From the command line, which every user of the machine can read.
    exposed: bool,
    /// Path and text of a single value given as a bare string: open to a second reading when the
    /// first does not fit, as with a password of digits.
    bare: Option<(Vec<String>, String)>,
}

/// Loads and checks.
///
/// # Errors
/// Every unknown key, value of a wrong type, and failed check, at once.
pub fn load<T>(sources: &Sources) -> Result<T, ConfigError>
where
    T: DeserializeOwned + Serialize + Default + Validate,
{
    let mut faults = Vec::new();
    let defaults = to_dict(&T::default()).map_err(|problem| error_of("", problem))?;
    let mut layers = layers(sources, &mut faults);
    let config = settle_types::<T>(&defaults, &mut layers, &mut faults)?;
    let taken = to_dict(&config).map_err(|problem| error_of("", problem))?;
    for layer in &layers {
        let mut unknown = Vec::new();
        surplus(&layer.values, &taken, &mut Vec::new(), &mut unknown);
        faults.extend(unknown.into_iter().map(|key| Fault {
            key,
            problem: "unknown key".to_owned(),
            origin: Some(layer.name.clone()),
        }));
    }
    faults.extend(exposed(&layers, &taken));
    faults.extend(Faults::of(&config).into_iter().map(|mut fault| {
        let path: Vec<&str> = fault.key.split('.').collect();
        fault.origin = origin(&layers, &path);
        fault
    }));
    if faults.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { faults })
    }
}

/// A configuration as TOML, secrets hidden.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn dump(config: &impl Serialize) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(config)
}

fn error_of(key: &str, problem: String) -> ConfigError {
    let key = key.to_owned();
    let origin = None;
    ConfigError {
        faults: vec![Fault {
            key,
            problem,
            origin,
        }],
    }
}

fn to_dict(config: &impl Serialize) -> Result<Dict, String> {
    match Value::serialize(config) {
        Ok(Value::Dict(_, dict)) => Ok(dict),
        Ok(_) => Err("the configuration must be a struct".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn layers(sources: &Sources, faults: &mut Vec<Fault>) -> Vec<Layer> {
    let mut layers = Vec::new();
    if let Some(path) = &sources.file {
        let name = path.display().to_string();
        match read_file(path) {
            Ok(values) => layers.push(Layer {
                name,
                values,
                exposed: false,
                bare: None,
            }),
            Err(fault) => faults.push(fault),
        }
    }
    // Each variable and flag is a layer of its own: a fault then names it.
    for (variable, value) in &sources.environment {
        // Without a section it is not ours: service discovery sets FOIL_... variables too.
        let path = variable
            .strip_prefix(PREFIX)
            .filter(|path| path.contains("__"));
        if let Some(path) = path {
            let keys: Vec<String> = path.to_lowercase().split("__").map(str::to_owned).collect();
            layers.push(bare_layer(variable.clone(), &keys, value));
        }
    }
    for (key, value) in &sources.flags {
        let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        let layer = bare_layer(format!("--set {key}"), &keys, value);
        let exposed = true;
        layers.push(Layer { exposed, ..layer });
    }
    layers
}

fn read_file(path: &std::path::Path) -> Result<Dict, Fault> {
    let name = path.display();
    let fault = |problem, origin| Fault {
        key: String::new(),
        problem,
        origin,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| fault(format!("cannot read {name}: {error}"), None))?;
    // The whole message of either parser quotes the faulty line, which may hold a secret.
    if let Err(error) = toml::from_str::<toml::Table>(&text) {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        let problem = format!("line {line}: {}", error.message());
        return Err(fault(problem, Some(name.to_string())));
    }
    let data = Toml::string(&text).data();
    let data = data.map_err(|_| fault("is no TOML".to_owned(), Some(name.to_string())))?;
    Ok(data.into_values().next().unwrap_or_default())
}

/// Secrets from the command line. What was shown there is known already: it is refused so that
/// nobody gets used to it.
fn exposed(layers: &[Layer], taken: &Dict) -> Vec<Fault> {
    let mut found = Vec::new();
    for layer in layers.iter().filter(|layer| layer.exposed) {
        let mut keys = Vec::new();
        secrets(&layer.values, taken, &mut Vec::new(), &mut keys);
        found.extend(keys.into_iter().map(|key| {
            let variable = key.to_uppercase().replace('.', "__");
            Fault {
                problem: format!(
                    "a secret is not taken from the command line, where others can read it: set \
                     {PREFIX}{variable}, or name a file"
                ),
                key,
                origin: Some(layer.name.clone()),
            }
        }));
    }
    found
}

/// Keys of `given` that came out as secrets.
fn secrets(given: &Dict, taken: &Dict, path: &mut Vec<String>, keys: &mut Vec<String>) {
    for (key, value) in given {
        path.push(key.clone());
        match (value, taken.get(key)) {
            (Value::Dict(_, inner), Some(Value::Dict(_, known))) => {
                secrets(inner, known, path, keys);
            }
            (_, Some(Value::String(_, shown))) if shown == HIDDEN => keys.push(path.join(".")),
            _ => {}
        }
        path.pop();
    }
}

fn bare_layer(name: String, keys: &[String], text: &str) -> Layer {
    let mut value = typed(text);
    for key in keys.iter().rev() {
        value = Value::from(Dict::from([(key.clone(), value)]));
    }
    let values = value.into_dict().unwrap_or_default();
    Layer {
        name,
        values,
        exposed: false,
        bare: Some((keys.to_vec(), text.to_owned())),
    }
}

/// A bare string as TOML reads it (`5`, `true`, `[1, 2]`), or as it stands.
fn typed(text: &str) -> Value {
    let table: Option<toml::Table> = toml::from_str(&format!("value = {text}")).ok();
    let value = table
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        // A time would come out as a table; every time here is a string.
        .filter(|value| !value.is_datetime());
    value
        .and_then(|value| Value::serialize(value).ok())
        .unwrap_or_else(|| Value::from(text))
}

fn settle_types<T: DeserializeOwned>(
    defaults: &Dict,
    layers: &mut [Layer],
    faults: &mut Vec<Fault>,
) -> Result<T, ConfigError> {
    let mut fitting = defaults.clone();
    loop {
        let mut merged = fitting.clone();
        for layer in layers.iter() {
            merge(&mut merged, &layer.values);
        }
        let error = match Value::from(merged).deserialize::<T>() {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let mut path = error.path.clone();
        if let Kind::UnknownField(field, _) = &error.kind
            && path.last() != Some(field)
        {
            path.push(field.clone());
        }
        // A default of another variant than the one that was chosen: nobody's fault.
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        let given = layers
            .iter()
            .any(|layer| find(&layer.values, &keys).is_some());
        let surplus = matches!(error.kind, Kind::UnknownField(..));
        if surplus && !given && remove(&mut fitting, &keys) {
            continue;
        }
        // With its value the choice of a variant may go, and the defaults then fit again.
        fitting = defaults.clone();
        if faults.len() >= FAULTS_MAX || !mend(&error, path, layers, faults) {
            faults.push(fault(&error, &error.path.join("."), None));
            let faults = std::mem::take(faults);
            return Err(ConfigError { faults });
        }
    }
}

/// Takes the faulty value out, or reads it anew. False when nothing could be changed.
fn mend(
    error: &Error,
    mut path: Vec<String>,
    layers: &mut [Layer],
    faults: &mut Vec<Fault>,
) -> bool {
    while !path.is_empty() {
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(layer) = layers
            .iter_mut()
            .rev()
            .find(|l| find(&l.values, &keys).is_some())
        {
            if reread(layer, &path) {
                return true;
            }
            remove(&mut layer.values, &keys);
            let origin = Some(layer.name.clone());
            faults.push(fault(error, &path.join("."), origin));
            return true;
        }
        path.pop();
    }
    false
}

fn fault(error: &Error, key: &str, origin: Option<String>) -> Fault {
    let problem = match &error.kind {
        Kind::UnknownField(_, []) => "unknown key".to_owned(),
        Kind::UnknownField(_, known) => format!("unknown key; known are {}", known.join(", ")),
        kind => kind.to_string(),
    };
    Fault {
        key: key.to_owned(),
        problem,
        origin,
    }
}

fn merge(into: &mut Dict, from: &Dict) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Dict(_, old)), Value::Dict(_, new)) => merge(old, new),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

fn find<'a>(dict: &'a Dict, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = dict.get(*first)?;
    match (rest, value) {
        ([], value) => Some(value),
        (rest, Value::Dict(_, inner)) => find(inner, rest),
        _ => None,
    }
}

fn find_mut<'a>(dict: &'a mut Dict, path: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    let value = dict.get_mut(*first)?;
    match (rest, value) {
        ([], value) => Some(value),
        (rest, Value::Dict(_, inner)) => find_mut(inner, rest),
        _ => None,
    }
}

fn remove(dict: &mut Dict, path: &[&str]) -> bool {
    match path {
        [] => false,
        [key] => dict.remove(*key).is_some(),
        [first, rest @ ..] => match dict.get_mut(*first) {
            Some(Value::Dict(_, inner)) => remove(inner, rest),
            _ => false,
        },
    }
}

/// Takes a bare string as it stands, once.
fn reread(layer: &mut Layer, path: &[String]) -> bool {
    let Some((own_path, text)) = layer.bare.take_if(|(own_path, _)| own_path == path) else {
        return false;
    };
    let keys: Vec<&str> = own_path.iter().map(String::as_str).collect();
    match find_mut(&mut layer.values, &keys) {
        Some(Value::String(..)) | None => false,
        Some(value) => {
            *value = Value::from(text);
            true
        }
    }
}

/// Keys of `given` that `taken`, the configuration as it came out, does not have.
fn surplus(given: &Dict, taken: &Dict, path: &mut Vec<String>, unknown: &mut Vec<String>) {
    for (key, value) in given {
        path.push(key.clone());
        match (value, taken.get(key)) {
            (_, None) => unknown.push(path.join(".")),
            (Value::Dict(_, inner), Some(Value::Dict(_, known))) => {
                surplus(inner, known, path, unknown);
            }
            _ => {}
        }
        path.pop();
    }
}

fn origin(layers: &[Layer], path: &[&str]) -> Option<String> {
    let mut given = layers.iter().rev();
    given
        .find(|layer| find(&layer.values, path).is_some())
        .map(|layer| layer.name.clone())
}
