"""Half precision, step by step: what may be float16 on given frames, and what must stay float32."""
