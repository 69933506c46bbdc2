// Find the words for which a rule dropped a text, although markup and white space between them differ.

const ESCAPED = /[.*+?^${}()|[\]\\]/g;

// Start and end of the words in a text, or null.
export function findWords(text, detail) {
  const words = detail.match(/[\p{L}\p{N}]+/gu) ?? [];
  if (words.length < 2) return null; // a number or a single word is not a passage
  const between = "[^\\p{L}\\p{N}]+";
  const pattern = new RegExp(words.map((word) => word.replace(ESCAPED, "\\$&")).join(between), "u");
  const found = pattern.exec(text);
  return found && [found.index, found.index + found[0].length];
}

// Highlight the words below an element. Returns whether they were found.
export function mark(root, detail) {
  const nodes = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) nodes.push(walker.currentNode);
  const passage = findWords(nodes.map((node) => node.data).join(""), detail);
  if (!passage) return false;
  let offset = 0;
  for (const node of nodes) {
    const start = Math.max(passage[0] - offset, 0);
    const end = Math.min(passage[1] - offset, node.length);
    offset += node.length;
    if (start >= end || !node.data.slice(start, end).trim()) continue;
    const range = document.createRange();
    range.setStart(node, start);
    range.setEnd(node, end);
    range.surroundContents(document.createElement("mark"));
  }
  return true;
}
