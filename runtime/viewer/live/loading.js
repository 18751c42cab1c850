// Fetching the page's files: with progress, and checked.

export class LoadError extends Error {}

// The files of `config.sizes`, {name: bytes}, by name. `onBytes(loaded, total)` is called as they arrive.
export async function fetchFiles(config, names, onBytes) {
  const loaded = Object.fromEntries(names.map((name) => [name, 0]));
  const total = names.reduce((sum, name) => sum + config.sizes[name], 0);
  const report = (name, bytes) => {
    loaded[name] = bytes;
    onBytes(Object.values(loaded).reduce((sum, value) => sum + value, 0), total);
  };
  const contents = await Promise.all(names.map((name) => fetchFile(name, (bytes) => report(name, bytes))));
  return Object.fromEntries(names.map((name, i) => [name, contents[i]]));
}

async function fetchFile(name, onBytes) {
  let response = null;
  try {
    response = await fetch(name);
  } catch (error) {
    throw new LoadError(`${name} cannot be loaded (${error.message}): is the server of this page still running?`);
  }
  if (!response.ok) {
    throw new LoadError(
      `${name} is missing beside this page (HTTP ${response.status}): write the folder again with dcc view --live.`,
    );
  }
  const parts = [];
  let length = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    onBytes(length);
  }
  const content = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    content.set(part, at);
    at += part.length;
  }
  return content;
}

// Throws LoadError unless the SHA-256 of `content` is that of the manifest. Browsers compute it on https and on this
// machine's own addresses only.
export async function checkDigest(name, content, expected) {
  if (!globalThis.crypto?.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== expected) {
    throw new LoadError(`${name} is damaged (its SHA-256 is not the manifest's): write the folder again.`);
  }
}

export async function gunzip(name, content) {
  try {
    const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new LoadError(`${name} is damaged: write the folder again with dcc view --live.`);
  }
}
