// Asks for what the first page needs when it is evaluated: a script of its own, which runs while the libraries are on their way.
import { askEarly } from "../api/early";
import { loadEarly } from "./pageFiles";

askEarly(location.pathname);
loadEarly(location.pathname);
