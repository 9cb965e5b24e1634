//! The possible bodies of a kind as data, and random bodies drawn from it.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// The percentage from which on a field is one that objects need.
const NEEDED: u8 = 90;

/// The possible values at one place of an object.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// One of these.
    Any(Vec<Value>),
    /// Fields, each with the percentage of objects that have it.
    Object(Vec<(&'static str, u8, Shape)>),
    /// Some of these keys.
    Map(Vec<&'static str>, Box<Shape>),
    /// Items that differ in these keys; without keys, in their value.
    List(Vec<&'static str>, Box<Shape>),
}

/// One of the words of `text`: each is JSON, or else a string.
pub(crate) fn any(text: &str) -> Shape {
    let parse = |word: &str| serde_json::from_str(word).unwrap_or_else(|_| word.into());
    Shape::Any(text.split_whitespace().map(parse).collect())
}

/// An object with fields, each with its percentage.
pub(crate) fn object(fields: impl IntoIterator<Item = (&'static str, u8, Shape)>) -> Shape {
    Shape::Object(fields.into_iter().collect())
}

/// A map with some of the keys.
pub(crate) fn map(keys: &'static str, values: Shape) -> Shape {
    Shape::Map(keys.split_whitespace().collect(), Box::new(values))
}

/// A list whose items differ in the keys.
pub(crate) fn list(keys: &'static str, items: Shape) -> Shape {
    Shape::List(keys.split_whitespace().collect(), Box::new(items))
}

impl Shape {
    /// A whole value.
    pub(crate) fn value(&self, rng: &mut Rng) -> Value {
        self.draw(rng, Share::Whole)
    }

    /// A value in which some of what can be left out is, as one of several clients would state it.
    pub(crate) fn part(&self, rng: &mut Rng) -> Value {
        self.draw(rng, Share::Part)
    }

    fn draw(&self, rng: &mut Rng, share: Share) -> Value {
        match self {
            Self::Any(values) => pick(rng, values).clone(),
            Self::Object(fields) => {
                let mut object = Map::new();
                for (name, chance, shape) in fields {
                    if rng.u8(..100) < share.of(*chance) {
                        object.insert((*name).into(), shape.draw(rng, share));
                    }
                }
                Value::Object(object)
            }
            Self::Map(keys, values) => {
                let kept = keys.iter().filter(|_| rng.u8(..100) < share.of(60)).collect::<Vec<_>>();
                kept.into_iter().map(|key| ((*key).to_owned(), values.draw(rng, share))).collect::<Map<_, _>>().into()
            }
            Self::List(keys, items) => {
                let drawn = (0..rng.usize(1..4)).map(|_| items.draw(rng, share)).collect::<Vec<_>>();
                Value::Array(distinct(drawn, keys, rng))
            }
        }
    }

    /// A random merge patch: some fields, and null for fields that it removes.
    pub(crate) fn merge_patch(&self, rng: &mut Rng) -> Value {
        match self {
            Self::Object(fields) => {
                let mut object = Map::new();
                for (name, chance, shape) in fields {
                    let drawn = rng.u8(..100);
                    if drawn < 5 && (*chance < 100 || rng.u8(..10) == 0) {
                        object.insert((*name).into(), Value::Null);
                    } else if drawn < 35 {
                        object.insert((*name).into(), shape.merge_patch(rng));
                    }
                }
                Value::Object(object)
            }
            Self::Map(keys, values) => {
                let mut object = Map::new();
                for key in keys {
                    match rng.u8(..4) {
                        0 => drop(object.insert((*key).into(), Value::Null)),
                        1 => drop(object.insert((*key).into(), values.merge_patch(rng))),
                        _ => {}
                    }
                }
                Value::Object(object)
            }
            Self::Any(_) | Self::List(..) => self.value(rng),
        }
    }

    /// A random strategic merge patch: a merge patch with directives.
    pub(crate) fn strategic_patch(&self, rng: &mut Rng) -> Value {
        match self {
            Self::Object(fields) => {
                let mut object = Map::new();
                for (name, chance, shape) in fields {
                    let drawn = rng.u8(..100);
                    if drawn < 5 && (*chance < 100 || rng.u8(..10) == 0) {
                        object.insert((*name).into(), Value::Null);
                    } else if drawn < 35 {
                        let (name, value) = shape.with_directive(name, rng);
                        object.extend(name.into_iter().zip(value));
                    }
                }
                if rng.u8(..40) == 0 {
                    object.insert("$patch".into(), pick(rng, &["replace", "merge"]).to_owned().into());
                }
                if rng.u8(..40) == 0 {
                    let kept = object.keys().filter(|key| !key.starts_with('$')).cloned().collect::<Vec<_>>();
                    object.insert("$retainKeys".into(), kept.into());
                }
                Value::Object(object)
            }
            Self::List(keys, items) if !keys.is_empty() => {
                let mut list = Vec::new();
                for _ in 0..rng.usize(1..3) {
                    let whole = items.value(rng);
                    let key = whole.get(keys[0]).cloned().unwrap_or_default();
                    let mut item = if rng.bool() { whole } else { items.strategic_patch(rng) };
                    if let Some(object) = item.as_object_mut() {
                        object.insert(keys[0].into(), key.clone());
                    }
                    list.push(if rng.u8(..6) == 0 { json!({keys[0]: key, "$patch": "delete"}) } else { item });
                }
                if rng.u8(..12) == 0 {
                    list.push(json!({"$patch": "replace"}));
                }
                Value::Array(distinct(list, &keys[..1], rng))
            }
            _ => self.merge_patch(rng),
        }
    }

    /// A field of a strategic merge patch, or what such a patch says of a list by another field: the fields and values.
    fn with_directive(&self, name: &str, rng: &mut Rng) -> (Vec<String>, Vec<Value>) {
        let value = self.strategic_patch(rng);
        match self {
            // Not both at once: they are performed in an order of chance.
            Self::List(keys, _) if keys.is_empty() && rng.u8(..8) == 0 => {
                (vec![format!("$deleteFromPrimitiveList/{name}")], vec![value])
            }
            Self::List(keys, _) if !keys.is_empty() && rng.u8(..8) == 0 => {
                let of = |item: &Value| item.get(keys[0]).map(|key| json!({keys[0]: key}));
                let order = value.as_array().into_iter().flatten().filter_map(of).collect::<Vec<_>>();
                (vec![name.to_owned(), format!("$setElementOrder/{name}")], vec![value, order.into()])
            }
            _ => (vec![name.to_owned()], vec![value]),
        }
    }

    /// The smallest valid value.
    pub(crate) fn least(&self) -> Value {
        match self {
            Self::Any(values) => values[0].clone(),
            Self::Object(fields) => {
                let fields = fields.iter().filter(|(_, chance, _)| *chance >= NEEDED);
                fields.map(|(name, _, shape)| ((*name).to_owned(), shape.least())).collect::<Map<_, _>>().into()
            }
            Self::Map(..) => json!({}),
            Self::List(_, items) => json!([items.least()]),
        }
    }

    /// Operations of a JSON patch below `pointer`.
    pub(crate) fn json_patch(&self, pointer: &str, rng: &mut Rng) -> Value {
        let some = (0..rng.usize(1..4)).map(|_| self.operation(pointer, rng)).collect::<Vec<_>>();
        Value::Array(some)
    }

    fn operation(&self, pointer: &str, rng: &mut Rng) -> Value {
        let (path, shape) = self.place(pointer, rng);
        match rng.u8(..16) {
            0..7 => json!({"op": "add", "path": path, "value": shape.value(rng)}),
            7..10 => json!({"op": "replace", "path": path, "value": shape.value(rng)}),
            10..13 => json!({"op": "remove", "path": path}),
            13 => json!({"op": "test", "path": path, "value": shape.value(rng)}),
            14 => json!({"op": "copy", "from": self.place(pointer, rng).0, "path": path}),
            _ => json!({"op": "move", "from": self.place(pointer, rng).0, "path": path}),
        }
    }

    /// Somewhere in such a value, as a JSON pointer, and what may stand there.
    pub(crate) fn place(&self, pointer: &str, rng: &mut Rng) -> (String, &Self) {
        let (step, below) = match self {
            Self::Object(fields) if !fields.is_empty() => {
                let (name, _, shape) = pick(rng, fields);
                ((*name).to_owned(), shape)
            }
            Self::Map(keys, values) => ((*pick(rng, keys)).replace('~', "~0").replace('/', "~1"), values.as_ref()),
            Self::List(_, items) => (pick(rng, &["0", "0", "1", "-"]).to_string(), items.as_ref()),
            _ => return (pointer.to_owned(), self),
        };
        let pointer = format!("{pointer}/{step}");
        let leaf = matches!(below, Self::Any(_));
        if leaf || rng.u8(..3) == 0 { (pointer, below) } else { below.place(&pointer, rng) }
    }

    /// Makes one place of `value` such that a client must be told off, or nearly.
    pub(crate) fn spoil(&self, value: &mut Value, rng: &mut Rng) {
        let (pointer, _) = self.place("", rng);
        let (parent, last) = pointer.rsplit_once('/').unwrap_or(("", ""));
        let odd =
            [json!(null), json!(-1), json!("ODD"), json!({}), json!([]), json!(true), json!(1.5), json!({"x": 1})];
        let Some(parent) = value.pointer_mut(parent) else { return };
        match parent {
            Value::Object(object) => match rng.u8(..4) {
                0 => drop(object.remove(last)),
                1 => drop(object.insert("unheardOf".into(), pick(rng, &odd).clone())),
                _ => drop(object.insert(last.into(), pick(rng, &odd).clone())),
            },
            Value::Array(items) if rng.bool() => items.extend(items.first().cloned()),
            Value::Array(items) => items.push(pick(rng, &odd).clone()),
            _ => {}
        }
    }
}

/// The share of optional fields that a body has.
#[derive(Clone, Copy)]
enum Share {
    Whole,
    Part,
}

impl Share {
    fn of(self, chance: u8) -> u8 {
        match self {
            Self::Part if chance < 100 => chance / 2,
            _ => chance,
        }
    }
}

/// One of `values`.
pub(crate) fn pick<'a, T>(rng: &mut Rng, values: &'a [T]) -> &'a T {
    &values[rng.usize(..values.len())]
}

/// The first of those that are the same in the keys; seldom all, for that is a mistake.
fn distinct(items: Vec<Value>, keys: &[&str], rng: &mut Rng) -> Vec<Value> {
    if rng.u8(..50) == 0 {
        return items;
    }
    let same = |a: &Value, b: &Value| match keys {
        [] => a == b,
        keys => keys.iter().all(|key| a.get(key) == b.get(key)),
    };
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if !kept.iter().any(|other| same(other, &item)) {
            kept.push(item);
        }
    }
    kept
}
