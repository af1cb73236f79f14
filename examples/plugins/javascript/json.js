// JSON as it was written. `JSON.parse` turns 1.0 into 1, and changes digits of long numbers.

/** The members of a JSON object, by name: the text of each as it is written there. */
export function members(text) {
  const found = new Map();
  let depth = 0;
  let name;
  let start = 0;
  const end = (at) => {
    if (name !== undefined) found.set(name, text.slice(start, at).trim());
    name = undefined;
  };
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '"': {
        const from = at;
        at = stringEnd(text, at);
        if (depth === 1 && name === undefined) name = JSON.parse(text.slice(from, at + 1));
        break;
      }
      case "{":
      case "[":
        depth++;
        break;
      case "}":
      case "]":
        depth--;
        if (depth === 0) end(at);
        break;
      case ":":
        if (depth === 1) start = at + 1;
        break;
      case ",":
        if (depth === 1) end(at);
        break;
    }
  }
  return found;
}

/** The place where the string that begins at `at` ends. */
function stringEnd(text, at) {
  for (;;) {
    at = text.indexOf('"', at + 1);
    let backslashes = 0;
    while (text[at - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return at;
  }
}
