"""`python -m keras_explainable.cli`: the command line as a module, which is how it starts itself anew."""

from keras_explainable.cli import main

if __name__ == "__main__":
    main()
