"""The backend for every platform: a thread of the caller polls the processes with psutil."""
