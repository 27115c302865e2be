"""Where the Beam stages run: in this process, in several, or on an engine such as Flink."""
