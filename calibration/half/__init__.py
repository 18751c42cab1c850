"""Half precision by measurement: which steps can be float16 on given frames, and which cannot."""
