"""The work around the network as ONNX graphs: what ``runtime/`` does in NumPy, for batches of pairs.

Float64 is used where the runtime uses it, so that results are the runtime's but for the last digits.
"""
