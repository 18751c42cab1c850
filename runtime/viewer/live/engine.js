// The bundle's graphs in onnxruntime-web.

import { checkDigest, fetchFiles, gunzip, LoadError } from "./loading.js";
import { makeFrame } from "./frames.js";
import { channelsLast } from "./refinement.js";

const MOST_THREADS = 8;

export class Engine {
  // `config` is that of page.json; `onProgress(text, done, total)` is called while files arrive.
  static async open(config, onProgress) {
    const files = [config.manifest, config.wasm, config.encoder, config.matcher];
    const contents = await fetchFiles(config, files, (done, total) => onProgress("Loading", done, total));
    const engine = new Engine();
    try {
      engine.manifest = JSON.parse(new TextDecoder().decode(contents[config.manifest]));
    } catch {
      throw new LoadError(`${config.manifest} is damaged: write the folder again with dcc view --live.`);
    }
    const { encoder, matcher } = engine.manifest.graphs;
    await checkDigest(config.encoder, contents[config.encoder], encoder.sha256);
    await checkDigest(config.matcher, contents[config.matcher], matcher.sha256);
    onProgress("Starting", 0, 0);
    const ort = await import(`./${config.runtime}`);
    engine.ort = ort;
    ort.env.logLevel = "error";
    ort.env.wasm.wasmBinary = (await gunzip(config.wasm, contents[config.wasm])).buffer;
    const threads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
    ort.env.wasm.numThreads = threads;
    const graphs = ["encoder", "matcher"].map((name) => [name, config[name], contents[config[name]]]);
    if (!(config.webgpu && (await engine.#openOnGpu(graphs, onProgress)))) {
      await engine.#open(graphs, ["wasm"]);
      engine.place = threads === 1 ? "1 thread" : `${threads} threads`;
    }
    return engine;
  }

  async #open(graphs, providers) {
    for (const [name, file, content] of graphs) this[name] = await this.#session(file, content, providers);
  }

  async #hasGpu() {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return false;
    // One in software is slower than WebAssembly, by minutes.
    if (adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter) return false;
    const { encoder, matcher } = this.manifest.graphs;
    const half = [encoder, matcher].some(({ precision, outputs }) =>
      [precision, ...outputs.map(({ dtype }) => dtype)].some((type) => type.includes("float16")),
    );
    return !half || adapter.features.has("shader-f16");
  }

  // Whether the graphs run on the GPU. Trying them also compiles their programs, which takes the longest.
  async #openOnGpu(graphs, onProgress) {
    if (!(await this.#hasGpu())) return false;
    onProgress("Compiling", 0, 0);
    try {
      await this.#open(graphs, ["webgpu", "wasm"]);
      const grey = await this.encode(new Uint8ClampedArray(4 * 64 * 64).fill(128), [64, 64]);
      await this.match(grey, grey);
    } catch {
      return false; // WebAssembly is slower, but runs everywhere
    }
    this.place = "WebGPU";
    return true;
  }

  async #session(name, content, executionProviders) {
    try {
      return await this.ort.InferenceSession.create(content, { executionProviders, logSeverityLevel: 3 }); // errors
    } catch (error) {
      throw new LoadError(`onnxruntime-web cannot load ${name}: ${firstLine(error)}`);
    }
  }

  get frameType() {
    return this.manifest.graphs.encoder.inputs.find(({ name }) => name === "frame").dtype;
  }

  // RGBA bytes of a picture of [height, width] -> {size, tensors, fine}, for `match`.
  async encode(pixels, size) {
    const { image_size } = this.manifest;
    const dtype = this.frameType;
    const frame = makeFrame(pixels, size, { size: image_size, dtype });
    const input = new this.ort.Tensor(dtype, frame, [1, ...image_size, 3]);
    const { fine, ...tensors } = await this.encoder.run({ frame: input });
    return { size, tensors, fine: fine ? channelsLast(fine.data, fine.dims.slice(1)) : null };
  }

  // The matcher's outputs for two encoded pictures, one typed array a name; indices as Int32Array.
  async match(a, b) {
    const inputs = {};
    for (const [side, { tensors }] of [["a", a], ["b", b]]) {
      for (const [name, tensor] of Object.entries(tensors)) inputs[`${name}_${side}`] = tensor;
    }
    const wanted = this.matcher.outputNames.filter((name) => /^(index|score|window|heatmap)_[ab]$/.test(name));
    const outputs = await this.matcher.run(inputs, wanted);
    const found = {};
    for (const name of wanted) {
      const { data } = outputs[name];
      found[name] = name.startsWith("index_") ? Int32Array.from(data, Number) : data;
    }
    if (!found.score_a.every(Number.isFinite) || !found.score_b.every(Number.isFinite)) {
      throw new Error("the network computed scores that are not finite.");
    }
    return found;
  }
}

const firstLine = (error) => String(error.message ?? error).split("\n")[0];
