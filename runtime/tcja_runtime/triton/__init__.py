"""What runs inside a Triton Inference Server: the models of its Python backend, which run the network of a bundle.

`tcja-deploy package triton` writes a model.py that imports a class of this folder. The server's Python needs
`tcja_runtime` and what the network's backend needs. The module `triton_python_backend_utils` is the server's own, and
exists only there.
"""
