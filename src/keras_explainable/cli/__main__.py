"""`python -m keras_explainable.cli`: the command line as a module. It restarts itself this way on another backend."""

from keras_explainable.cli import main

if __name__ == "__main__":
    main()
