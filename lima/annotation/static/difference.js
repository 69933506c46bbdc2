// Differences of two texts: changed lines, and in these the changed words.

const MOST = 4_000_000; // cells of the table; larger blocks are shown as a whole
const CONTEXT = 6; // words shown before and after a change

// Longest common subsequence: runs of equal, removed and added parts. Equal parts at both ends are cut off first.
function runs(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
  const a = before.slice(start, before.length - end);
  const b = after.slice(start, after.length - end);
  const found = [];
  const add = (kind, part) => {
    if (found.at(-1)?.kind === kind) found.at(-1).parts.push(part);
    else found.push({ kind, parts: [part] });
  };
  for (const part of before.slice(0, start)) add("equal", part);
  if ((a.length + 1) * (b.length + 1) > MOST) {
    for (const part of a) add("removed", part);
    for (const part of b) add("added", part);
  } else {
    common(a, b, add);
  }
  for (const part of before.slice(before.length - end)) add("equal", part);
  return found;
}

function common(a, b, add) {
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      add("equal", a[i]);
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && table[i + 1][j] >= table[i][j + 1])) {
      add("removed", a[i]);
      i += 1;
    } else {
      add("added", b[j]);
      j += 1;
    }
  }
}

const words = (text) => text.match(/\s+|[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu) ?? [];

function shortened(parts, isFirst, isLast) {
  if (parts.length <= 4 * CONTEXT) return parts.join("");
  const head = isFirst ? "" : parts.slice(0, 2 * CONTEXT).join("");
  const tail = isLast ? "" : parts.slice(-2 * CONTEXT).join("");
  return `${head} … ${tail}`;
}

// The changed places of a text as lists of [kind, text], one list per place, with a few words around each change.
export function difference(before, after) {
  const places = [];
  let removed = [];
  let added = [];
  const flush = () => {
    if (removed.length || added.length) {
      const changed = runs(words(removed.join("\n")), words(added.join("\n")));
      places.push(
        changed.map(({ kind, parts }, number) => [
          kind,
          kind === "equal" ? shortened(parts, number === 0, number === changed.length - 1) : parts.join(""),
        ]),
      );
    }
    removed = [];
    added = [];
  };
  for (const { kind, parts } of runs(before.split("\n"), after.split("\n"))) {
    if (kind === "equal") flush();
    else if (kind === "removed") removed.push(...parts);
    else added.push(...parts);
  }
  flush();
  return places;
}
